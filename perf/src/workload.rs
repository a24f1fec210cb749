//! The workloads by name: what each does, and what its raw limit is.

mod activate;
mod call;
mod call_many;
mod crowd;
mod ingest;
mod mixed;
mod tell;
mod wire;
mod wire_big;

use serde::Serialize;

use self::activate::Activate;
use self::call::Call;
use self::call_many::CallMany;
use self::ingest::Ingest;
use self::mixed::Mixed;
use self::tell::Tell;
use self::wire::Wire;
use self::wire_big::WireBig;
use crate::bulk::BIG;
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
    WireTell,
    WireCall,
    WireCallMany,
    WireBig,
    WireMixed,
}

impl Workload {
    /// All, in the order in which they are run.
    pub(crate) const ALL: [Self; 13] = [
        Self::LocalTell,
        Self::LocalCall,
        Self::LaneTell,
        Self::LaneCall,
        Self::LaneCallMany,
        Self::Ingest,
        Self::Activate,
        Self::Mixed,
        Self::WireTell,
        Self::WireCall,
        Self::WireCallMany,
        Self::WireBig,
        Self::WireMixed,
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
            Self::WireTell => "wire-tell",
            Self::WireCall => "wire-call",
            Self::WireCallMany => "wire-call-many",
            Self::WireBig => "wire-big",
            Self::WireMixed => "wire-mixed",
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
            Self::WireTell => "one grain tells grains in another process",
            Self::WireCall => "one grain calls grains in another process, one call at a time",
            Self::WireCallMany => {
                "many grains call grains in another process, each one call at a time"
            }
            Self::WireBig => {
                "payloads of 1 MiB to another process; latency of small calls beside them"
            }
            Self::WireMixed => {
                "tells and calls to another process, at a rate; latency from when a call was due"
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
            Self::WireTell => "frames through one QUIC stream between two busy loops",
            Self::WireCall | Self::WireMixed => {
                "ping-pong of frames over one QUIC stream between two busy loops"
            }
            Self::WireCallMany => "as many frames under way over one QUIC stream, and back",
            Self::WireBig => "as many bytes through one QUIC stream between two busy loops",
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
            Self::LocalTell | Self::LaneTell | Self::WireTell | Self::Activate => {
                Some(tell::WINDOW)
            }
            Self::LaneCallMany | Self::WireCallMany => Some(call_many::WINDOW),
            Self::Mixed | Self::WireMixed => Some(mixed::WINDOW),
            Self::LocalCall | Self::LaneCall | Self::Ingest | Self::WireCall | Self::WireBig => {
                None
            }
        }
    }

    /// Bytes of what its rate counts, where that is not the payload that the user chose.
    pub(crate) fn big_payload(self) -> Option<usize> {
        (self == Self::WireBig).then_some(BIG)
    }

    /// Whether it takes two processes.
    pub(crate) fn is_between_processes(self) -> bool {
        match self {
            Self::WireTell
            | Self::WireCall
            | Self::WireCallMany
            | Self::WireBig
            | Self::WireMixed => true,
            Self::LocalTell
            | Self::LocalCall
            | Self::LaneTell
            | Self::LaneCall
            | Self::LaneCallMany
            | Self::Ingest
            | Self::Activate
            | Self::Mixed => false,
        }
    }

    /// Whether messages are sent at a rate.
    pub(crate) fn has_rate(self) -> bool {
        matches!(self, Self::Mixed | Self::WireMixed)
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
            Workload::WireTell => Box::new(Wire::<R>::tell(settings)?),
            Workload::WireCall => Box::new(Wire::<R>::call(settings)?),
            Workload::WireCallMany => Box::new(Wire::<R>::call_many(settings)?),
            Workload::WireBig => Box::new(WireBig::<R>::start(settings)?),
            Workload::WireMixed => Box::new(Wire::<R>::mixed(settings)?),
        })
    }
}
