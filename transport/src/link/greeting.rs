//! What a hello has to say for a link to come up.
//!
//! The checks go from the general to the particular, so that the first that fails is the one to
//! mend: protocol, cluster, who, where, membership, placement.

use rustls_pki_types::CertificateDer;
use teff_wire::{Frame, FrameType, Hello, HelloError, NodeId, ShardId};
use webpki::EndEntityCert;

use crate::{
    error::Refusal,
    name::{node_name, server_name},
    settings::Settings,
};

/// A node and a shard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) node: NodeId,
    pub(crate) shard: ShardId,
}

/// A refusal, and what a log should say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) detail: String,
}

/// Reads the hello out of the first frame of a stream.
pub(crate) fn read(frame: &Frame) -> Result<Hello, Refused> {
    if frame.header.frame != FrameType::Hello {
        let detail = format!("the first frame is of type {}", frame.header.frame);
        return Err(Refused {
            refusal: Refusal::Malformed,
            detail,
        });
    }
    Hello::decode(&frame.payload).map_err(|error| Refused {
        refusal: match error {
            HelloError::Version { .. } => Refusal::Version,
            _ => Refusal::Malformed,
        },
        detail: error.to_string(),
    })
}

/// Checks the hello that `shard` of this node got from a peer with this certificate.
///
/// `dialled` is whom this end dialled, `None` at the acceptor.
pub(crate) fn check(
    settings: &Settings,
    shard: ShardId,
    dialled: Option<Target>,
    hello: &Hello,
    certificate: Option<&CertificateDer<'_>>,
) -> Result<(), Refused> {
    let local = settings.local();
    if !hello.version.is_compatible(settings.version()) {
        let detail = format!(
            "it speaks {}, this node {}",
            hello.version,
            settings.version()
        );
        return Err(Refused {
            refusal: Refusal::Version,
            detail,
        });
    }
    if hello.cluster != local.cluster.as_str() {
        let detail = format!(
            "it belongs to {}, this node to {}",
            hello.cluster, local.cluster
        );
        return Err(Refused {
            refusal: Refusal::Cluster,
            detail,
        });
    }
    if !certificate.is_some_and(|certificate| names(certificate, settings, hello.node)) {
        let name = node_name(&local.cluster, hello.node);
        let detail = format!("its certificate is not for {name}");
        return Err(Refused {
            refusal: Refusal::Identity,
            detail,
        });
    }
    let from = Target {
        node: hello.node,
        shard: hello.from_shard,
    };
    let reached = dialled.is_none_or(|target| target == from);
    if !reached || hello.to_shard != shard {
        let detail = format!(
            "node {} shard {} answers to shard {}, which is shard {shard}",
            from.node, from.shard, hello.to_shard
        );
        return Err(Refused {
            refusal: Refusal::WrongTarget,
            detail,
        });
    }
    if !settings.is_member(hello.node) {
        let detail = format!("node {} is not a member", hello.node);
        return Err(Refused {
            refusal: Refusal::UnknownNode,
            detail,
        });
    }
    if hello.placement != local.placement {
        let detail = format!(
            "its digest is {:016x}, here {:016x}",
            hello.placement, local.placement
        );
        return Err(Refused {
            refusal: Refusal::Placement,
            detail,
        });
    }
    Ok(())
}

fn names(certificate: &CertificateDer<'_>, settings: &Settings, node: NodeId) -> bool {
    let name = server_name(&settings.local().cluster, node);
    EndEntityCert::try_from(certificate)
        .and_then(|certificate| certificate.verify_is_valid_for_subject_name(&name))
        .is_ok()
}

#[cfg(test)]
mod tests;
