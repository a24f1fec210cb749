//! Views: what members are refused, where kinds go, when digests agree.

use proptest::prelude::*;

use super::*;
use crate::hash::PARTITIONS;

fn member(node: u16) -> Member {
    Member::new(
        NodeId(node),
        SocketAddr::from(([127, 0, 0, 1], 4_000 + node)),
        1,
    )
}

fn offering(node: u16, kinds: &[&str]) -> Member {
    let kinds = kinds.iter().map(|&kind| kind.to_owned()).collect();
    Member {
        kinds: Some(kinds),
        ..member(node)
    }
}

fn view(members: Vec<Member>) -> View {
    View::new(Epoch(1), members).unwrap()
}

fn errors(members: Vec<Member>) -> Vec<ViewError> {
    View::new(Epoch(1), members).unwrap_err()
}

fn hashes() -> impl Iterator<Item = GrainHash> {
    (0..PARTITIONS as u64).map(|partition| GrainHash(partition << 50))
}

/// The nodes that own some grain of a kind.
fn owners(view: &View, kind: &str) -> BTreeSet<u16> {
    hashes()
        .filter_map(|hash| view.place(KindId::of(kind), hash))
        .map(|o| o.node.0)
        .collect()
}

#[test]
fn members_are_found_by_id() {
    let view = view(vec![member(9), member(3), member(5)]);
    assert_eq!(view.epoch(), Epoch(1));
    assert!(view.members().is_sorted_by_key(|member| member.node));
    assert_eq!(view.member(NodeId(5)), Some(&member(5)));
    assert_eq!(view.member(NodeId(4)), None);
}

#[test]
fn grains_of_a_kind_live_where_it_is_offered() {
    let view = view(vec![
        member(1),
        offering(2, &["room"]),
        offering(3, &["room", "account"]),
    ]);
    assert_eq!(owners(&view, "room"), [1, 2, 3].into());
    assert_eq!(owners(&view, "account"), [1, 3].into());
    assert_eq!(owners(&view, "anything else"), [1].into());
    // "room", "account" and the rest.
    assert_eq!(view.tables.len(), 3);
}

#[test]
fn a_kind_that_nobody_offers_has_no_place() {
    let view = view(vec![
        offering(2, &["room"]),
        offering(3, &["room", "account"]),
    ]);
    assert_eq!(view.place(KindId::of("lobby"), GrainHash(0)), None);
    assert!(view.table_of(KindId::of("lobby")).is_none());
    assert_eq!(owners(&view, "account"), [3].into());
}

#[test]
fn kinds_of_the_same_members_share_a_table() {
    let members = vec![
        offering(1, &["a", "b", "c"]),
        offering(2, &["c", "b", "a"]),
        member(3),
    ];
    let view = view(members);
    assert_eq!(view.tables.len(), 2);
    let table = |kind| view.table_of(KindId::of(kind)).map(std::ptr::from_ref);
    assert_eq!(table("a"), table("c"));
    assert_ne!(table("a"), table("z"));
}

#[test]
fn a_member_of_weight_0_owns_nothing() {
    let caller = Member {
        weight: 0.0,
        ..offering(2, &["room", "only here"])
    };
    let view = view(vec![member(1), caller, offering(3, &["room"])]);
    assert_eq!(owners(&view, "room"), [1, 3].into());
    assert_eq!(owners(&view, "only here"), [1].into());
    assert_eq!(view.tables.len(), 2);
}

#[test]
fn a_node_has_one_share_however_many_shards_it_has() {
    let view = view(vec![
        Member {
            shards: 4,
            ..member(1)
        },
        member(2),
    ]);
    let of_two = hashes().filter(|&hash| view.place(KindId(7), hash).unwrap().node == NodeId(2));
    // Half of 2^14 with a deviation of 64; 4.5 deviations.
    assert!(of_two.count().abs_diff(PARTITIONS / 2) <= 288);
    let shards: BTreeSet<u16> = hashes()
        .map(|hash| view.place(KindId(7), hash).unwrap())
        .filter(|owner| owner.node == NodeId(1))
        .map(|owner| owner.shard.0)
        .collect();
    assert_eq!(shards, [0, 1, 2, 3].into());
}

#[test]
fn everything_wrong_is_said_at_once() {
    let address = member(1).address;
    let members = vec![
        Member {
            shards: 0,
            ..member(1)
        },
        Member {
            shards: 257,
            address,
            ..member(2)
        },
        Member {
            weight: f64::NAN,
            ..member(3)
        },
        Member {
            weight: -1.0,
            ..member(4)
        },
        Member {
            weight: f64::INFINITY,
            ..member(5)
        },
        Member {
            weight: 1e-7,
            ..member(6)
        },
        Member {
            address: ([127, 0, 0, 9], 1).into(),
            ..member(3)
        },
        member(3),
        // Two words with one FNV-1a hash.
        offering(7, &["costarring"]),
        offering(8, &["liquid"]),
        offering(9, &["liquid", "costarring"]),
    ];
    let errors = errors(members);
    let node = NodeId;
    let expected = [
        ViewError::NoShards { node: node(1) },
        ViewError::DuplicateAddress {
            first: node(1),
            second: node(2),
            address,
        },
        ViewError::TooManyShards {
            node: node(2),
            shards: 257,
        },
        ViewError::DuplicateNode { node: node(3) },
        ViewError::BadWeight {
            node: node(4),
            weight: -1.0,
        },
        ViewError::BadWeight {
            node: node(5),
            weight: f64::INFINITY,
        },
        ViewError::BadWeight {
            node: node(6),
            weight: 1e-7,
        },
        ViewError::KindCollision {
            first: "costarring".into(),
            second: "liquid".into(),
        },
    ];
    for expected in &expected {
        let times = errors.iter().filter(|error| *error == expected).count();
        assert_eq!(times, 1, "{expected} in {errors:?}");
    }
    // NaN equals nothing.
    let nans = errors
        .iter()
        .filter(|error| matches!(error, ViewError::BadWeight { weight, .. } if weight.is_nan()));
    assert_eq!(nans.count(), 1);
    assert_eq!(errors.len(), expected.len() + 1);
}

#[test]
fn somebody_must_own_grains() {
    assert_eq!(errors(vec![]), [ViewError::NoOwner]);
    assert_eq!(
        errors(vec![Member {
            weight: 0.0,
            ..member(1)
        }]),
        [ViewError::NoOwner]
    );
    assert_eq!(errors(vec![offering(1, &[])]), [ViewError::NoOwner]);
}

#[test]
fn shards_beyond_what_partitions_can_tell_apart_are_refused() {
    let all: Vec<_> = (0..64)
        .map(|n| Member {
            shards: 256,
            ..member(n)
        })
        .collect();
    let mut more = all.clone();
    more.push(member(64));
    assert_eq!(
        errors(more.clone()),
        [ViewError::TooManyOwners { shards: 16_385 }]
    );
    // One that owns nothing does not count. `check`, because making that table takes seconds
    // without optimisation.
    more[64].weight = 0.0;
    assert_eq!(check(&more).1, []);
    assert_eq!(check(&all).1, []);
}

const KEY: PlacementKey = PlacementKey::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

fn uneven() -> Vec<Member> {
    vec![
        Member {
            shards: 2,
            ..member(1)
        },
        Member {
            weight: 2.0,
            ..offering(2, &["room", "account"])
        },
        Member {
            shards: 3,
            weight: 0.5,
            ..member(300)
        },
    ]
}

/// The expected value comes from another implementation, written for this test in Python.
#[test]
fn digests_never_change() {
    assert_eq!(view(uneven()).digest(&KEY), 0x334d_9f2e_fac5_048b);
}

#[test]
fn a_digest_covers_what_placement_depends_on_and_nothing_else() {
    let digest = |members: Vec<Member>| view(members).digest(&KEY);
    let base = digest(uneven());

    let mut same = uneven();
    same.reverse();
    same[0].address = ([10, 0, 0, 1], 9).into();
    same[0].annotations.insert("rack".into(), "7".into());
    same[1].kinds = Some(vec!["account".into(), "room".into(), "account".into()]);
    assert_eq!(digest(same.clone()), base);
    assert_eq!(View::new(Epoch(99), same).unwrap().digest(&KEY), base);

    let changes: [fn(&mut Vec<Member>); 7] = [
        |members| members[0].shards = 3,
        |members| members[0].weight = 1.5,
        |members| members[0].weight = 0.0,
        |members| members[0].kinds = Some(vec!["room".into()]),
        |members| members[1].kinds = Some(vec!["roomaccount".into()]),
        |members| members[2].node = NodeId(301),
        |members| _ = members.pop(),
    ];
    let mut seen = BTreeSet::from([base]);
    for change in changes {
        let mut members = uneven();
        change(&mut members);
        assert!(seen.insert(digest(members.clone())), "{members:?}");
    }
    assert!(seen.insert(view(uneven()).digest(&PlacementKey::new([0; 16]))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn the_order_of_members_does_not_matter(
        members in Just([uneven(), vec![offering(7, &["room"]), member(8)]].concat()).prop_shuffle()
    ) {
        let (given, sorted) = (view(members.clone()), {
            let mut members = members;
            members.sort_by_key(|member| member.node);
            view(members)
        });
        prop_assert_eq!(given.members(), sorted.members());
        prop_assert_eq!(given.digest(&KEY), sorted.digest(&KEY));
        for kind in ["room", "account", "other"].map(KindId::of) {
            for hash in hashes() {
                prop_assert_eq!(given.place(kind, hash), sorted.place(kind, hash));
            }
        }
    }
}
