//! The workloads by name: what each does, and what its raw limit is.

mod activate;
mod call;
mod call_many;
mod crowd;
mod ingest;
mod mixed;
mod tell;

use serde::Serialize;

use self::activate::Activate;
use self::call::Call;
use self::call_many::CallMany;
use self::ingest::Ingest;
use self::mixed::Mixed;
use self::tell::Tell;
use crate::grains::{Target, WithTarget, with_payload_of};
use crate::scenario::Scenario;
use crate::settings::Settings;

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    LocalTell,
    LocalCall,
    LaneTell,
    LaneCall,
    LaneCallMany,
    Ingest,
    Activate,
    Mixed,
}

impl Workload {
    /// All, in the order in which they are run.
    pub(crate) const ALL: [Self; 8] = [
        Self::LocalTell,
        Self::LocalCall,
        Self::LaneTell,
        Self::LaneCall,
        Self::LaneCallMany,
        Self::Ingest,
        Self::Activate,
        Self::Mixed,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LocalTell => "local-tell",
            Self::LocalCall => "local-call",
            Self::LaneTell => "lane-tell",
            Self::LaneCall => "lane-call",
            Self::LaneCallMany => "lane-call-many",
            Self::Ingest => "ingest",
            Self::Activate => "activate",
            Self::Mixed => "mixed",
        }
    }

    /// What it does.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::LocalTell => "one grain tells grains on its own shard",
            Self::LocalCall => "one grain calls grains on its own shard, one call at a time",
            Self::LaneTell => "one grain tells grains on another shard",
            Self::LaneCall => "one grain calls grains on another shard, one call at a time",
            Self::LaneCallMany => {
                "many grains call grains on another shard, each one call at a time"
            }
            Self::Ingest => "a plain thread tells grains",
            Self::Activate => "one message each to grains that do not exist yet",
            Self::Mixed => {
                "tells and calls, near and far, at a rate; latency from when a call was due"
            }
        }
    }

    /// What its raw limit is.
    pub(crate) fn limit(self) -> &'static str {
        match self {
            Self::LocalTell => "a ring within the thread, one look-up and one call per message",
            Self::LaneTell | Self::LaneCallMany | Self::Ingest => {
                "a ring between the threads, one look-up and one call per message"
            }
            Self::LocalCall | Self::Mixed => "ping-pong between two CPUs over two rings",
            Self::LaneCall => "ping-pong over two rings; with --idle park, over two eventfds",
            Self::Activate => "inserting the same states into a hash map",
        }
    }

    /// Whether it can be cut into slices of any length; if not, it is repeated as a whole.
    pub(crate) fn is_sliced(self) -> bool {
        self != Self::Activate
    }

    /// Grains, unless told otherwise.
    pub(crate) fn default_grains(self) -> usize {
        match self {
            Self::Activate => 1_000_000,
            _ => 1000,
        }
    }

    /// The window, unless told otherwise, where there is one.
    pub(crate) fn default_window(self) -> Option<usize> {
        match self {
            Self::LocalTell | Self::LaneTell | Self::Activate => Some(tell::WINDOW),
            Self::LaneCallMany => Some(call_many::WINDOW),
            Self::Mixed => Some(mixed::WINDOW),
            Self::LocalCall | Self::LaneCall | Self::Ingest => None,
        }
    }

    /// Whether messages are sent at a rate.
    pub(crate) fn has_rate(self) -> bool {
        self == Self::Mixed
    }

    /// Sets it up.
    pub(crate) fn open(self, settings: &Settings) -> anyhow::Result<Box<dyn Scenario>> {
        let open = Open {
            workload: self,
            settings,
        };
        with_payload_of(settings.payload, open)?
    }
}

struct Open<'a> {
    workload: Workload,
    settings: &'a Settings,
}

impl WithTarget for Open<'_> {
    type Output = anyhow::Result<Box<dyn Scenario>>;

    fn with<R: Target>(self) -> Self::Output {
        let settings = self.settings;
        Ok(match self.workload {
            Workload::LocalTell => Box::new(Tell::<R>::local(settings)?),
            Workload::LocalCall => Box::new(Call::<R>::local(settings)?),
            Workload::LaneTell => Box::new(Tell::<R>::lane(settings)?),
            Workload::LaneCall => Box::new(Call::<R>::lane(settings)?),
            Workload::LaneCallMany => Box::new(CallMany::<R>::start(settings)?),
            Workload::Ingest => Box::new(Ingest::<R>::start(settings)?),
            Workload::Activate => Box::new(Activate::<R>::new(settings)),
            Workload::Mixed => Box::new(Mixed::<R>::start(settings)?),
        })
    }
}
