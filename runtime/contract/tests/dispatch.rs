//! A message made by a generated stub runs the right handler with the right arguments, whether it
//! arrives as a value or as bytes, and nothing that arrives can do more than be refused.

mod common;

use std::time::Duration;

use common::{Hosted, ROUTES, Route, Shard, encoded};
use teff_contract::{Archived, Arguments, Ctx, Payload, Reference, Step, grain, message};
use teff_wire::{Block, KindId, MethodId, Status};

#[message]
#[derive(Clone, Debug, PartialEq)]
struct Hit {
    path: String,
    sizes: Vec<u32>,
    origin: Option<Origin>,
}

#[message]
#[derive(Clone, Debug, PartialEq)]
enum Origin {
    Unknown,
    Named { host: String, port: u16 },
    Point(f64, f64),
}

#[message]
#[derive(Clone, Debug, PartialEq)]
#[rkyv(derive(Debug), compare(PartialEq))]
struct Denied(String);

#[grain]
#[allow(clippy::too_many_arguments, reason = "as many as there may be")]
trait Gallery {
    /// Plain, one argument.
    fn add(&mut self, n: u64) -> u64;
    /// Nothing in, nothing out.
    fn clear(&mut self);
    /// As many arguments as there may be.
    fn eight(
        &mut self,
        a: u8,
        b: i16,
        c: u32,
        d: i64,
        e: bool,
        f: char,
        g: String,
        h: (Option<u8>, [u16; 2]),
    ) -> String;
    /// Asks the context.
    fn where_am_i(&mut self, ctx: &Ctx) -> (String, u16);
    /// A reply that is a failure is a reply.
    fn withdraw(&mut self, n: u64) -> Result<u64, Denied>;
    /// Waits between two changes.
    async fn add_slowly(&mut self, n: u64) -> u64;
    /// Waits by way of the context.
    async fn nap(&mut self, ctx: &Ctx, millis: u16, greeting: String) -> String;
    /// Reads in place.
    fn measure(&mut self, hit: &Archived<Hit>) -> u64;
    /// Reads one argument in place and takes the other.
    fn label(&mut self, ctx: &Ctx, prefix: String, hit: &Archived<Hit>) -> String;
    /// Reads in place across a wait.
    async fn measure_slowly(&mut self, ctx: &Ctx, hit: &Archived<Hit>, factor: u64) -> u64;
    /// Reads a text in place.
    fn length(&mut self, text: &Archived<String>) -> u32;
    /// Has a body already.
    fn doubled(&mut self, n: u64) -> u64 {
        self.add(n);
        self.add(n)
    }
}

#[derive(Default)]
struct Room {
    total: u64,
}

impl Gallery for Room {
    fn add(&mut self, n: u64) -> u64 {
        self.total += n;
        self.total
    }

    fn clear(&mut self) {
        self.total = 0;
    }

    fn eight(
        &mut self,
        a: u8,
        b: i16,
        c: u32,
        d: i64,
        e: bool,
        f: char,
        g: String,
        h: (Option<u8>, [u16; 2]),
    ) -> String {
        format!("{a} {b} {c} {d} {e} {f} {g} {h:?}")
    }

    fn where_am_i(&mut self, ctx: &Ctx) -> (String, u16) {
        (ctx.key().to_owned(), ctx.shard().0)
    }

    fn withdraw(&mut self, n: u64) -> Result<u64, Denied> {
        let denied = || Denied(format!("only {} left", self.total));
        self.total = self.total.checked_sub(n).ok_or_else(denied)?;
        Ok(self.total)
    }

    async fn add_slowly(&mut self, n: u64) -> u64 {
        self.total += n;
        futures_lite::future::yield_now().await;
        self.total += n;
        self.total
    }

    async fn nap(&mut self, ctx: &Ctx, millis: u16, greeting: String) -> String {
        ctx.sleep(Duration::from_millis(u64::from(millis))).await;
        format!("{greeting} from {}", ctx.key())
    }

    fn measure(&mut self, hit: &Archived<Hit>) -> u64 {
        hit.sizes
            .iter()
            .map(|size| u64::from(size.to_native()))
            .sum()
    }

    fn label(&mut self, ctx: &Ctx, prefix: String, hit: &Archived<Hit>) -> String {
        format!("{prefix}{}@{}", hit.path, ctx.key())
    }

    async fn measure_slowly(&mut self, ctx: &Ctx, hit: &Archived<Hit>, factor: u64) -> u64 {
        let before = hit.sizes.len() as u64;
        ctx.sleep(Duration::from_secs(3)).await;
        self.total += before;
        factor.wrapping_mul(self.measure(hit))
    }

    fn length(&mut self, text: &Archived<String>) -> u32 {
        text.len() as u32
    }
}

fn hit() -> Hit {
    Hit {
        path: String::from("/a/path/longer/than/what/fits/inline"),
        sizes: vec![1, 20, 300],
        origin: Some(Origin::Named {
            host: String::from("example.org"),
            port: 443,
        }),
    }
}

fn room() -> (Hosted, GalleryRef) {
    Hosted::new(&GalleryRef::kind::<Room>())
}

#[test]
fn a_plain_handler_ends_within_its_turn() {
    for route in ROUTES {
        let (mut grain, gallery) = room();
        assert!(matches!(grain.begin(gallery.add(3), route), Step::Done));
        assert_eq!(grain.call(gallery.add(4), route), Ok(7), "{route:?}");
        assert_eq!(grain.call(gallery.clear(), route), Ok(()));
        assert_eq!(grain.call(gallery.doubled(2), route), Ok(4));
    }
}

#[test]
fn every_argument_arrives_in_its_place() {
    for route in ROUTES {
        let (mut grain, gallery) = room();
        let request = gallery.eight(1, -2, 3, -4, true, 'f', "seven", (Some(8), [9, 10]));
        let expected = String::from("1 -2 3 -4 true f seven (Some(8), [9, 10])");
        assert_eq!(grain.call(request, route), Ok(expected), "{route:?}");
    }
}

#[test]
fn a_handler_that_fails_has_answered() {
    for route in ROUTES {
        let (mut grain, gallery) = room();
        let denied = Denied(String::from("only 0 left"));
        assert_eq!(
            grain.call(gallery.withdraw(1), route),
            Ok(Err(denied)),
            "{route:?}"
        );
        grain.call(gallery.add(5), route).unwrap();
        assert_eq!(grain.call(gallery.withdraw(1), route), Ok(Ok(4)));
    }
}

#[test]
fn an_archived_message_has_the_traits_that_it_asked_for() {
    let denied = Denied(String::from("no"));
    let bytes = encoded(&Payload::new(denied.clone()));
    let archived: &Archived<Denied> = teff_contract::codec::access::<Denied>(&bytes).unwrap();
    assert_eq!(*archived, denied);
    assert_eq!(format!("{archived:?}"), "ArchivedDenied(\"no\")");
}

#[test]
fn a_handler_sees_the_context_of_its_grain() {
    for route in ROUTES {
        let (mut grain, gallery) = room();
        let here = (String::from("here"), 2);
        assert_eq!(
            grain.call(gallery.where_am_i(), route),
            Ok(here),
            "{route:?}"
        );
    }
}

#[test]
fn a_waiting_handler_has_the_grain_until_it_ends() {
    for route in ROUTES {
        let (mut grain, gallery) = room();
        assert!(matches!(
            grain.begin(gallery.add_slowly(5), route),
            Step::Suspended
        ));
        assert!(matches!(grain.resume(), Step::Suspended));
        assert_eq!(grain.resume(), Step::Done, "one wait is all there is");
        assert_eq!(grain.take_reply().take::<u64>(), Ok(10));
        assert_eq!(grain.call(gallery.add(1), route), Ok(11), "{route:?}");
    }
}

#[test]
#[should_panic(expected = "a handler begins only after the one before has given")]
fn a_second_handler_does_not_begin_beside_one_that_waits() {
    let (mut grain, gallery) = room();
    assert!(matches!(
        grain.begin(gallery.add_slowly(5), Route::Value),
        Step::Suspended
    ));
    grain.begin(gallery.add(1), Route::Value);
}

#[test]
fn a_waiting_handler_keeps_its_context_and_arguments() {
    for route in ROUTES {
        let (mut grain, gallery) = room();
        let mut step = grain.begin(gallery.nap(2000, "hello"), route);
        for _ in 0..3 {
            assert!(matches!(step, Step::Suspended));
            step = grain.resume();
        }
        grain.pass(Duration::from_secs(2));
        assert_eq!(grain.resume(), Step::Done, "the time is over");
        assert_eq!(
            grain.take_reply().take(),
            Ok(String::from("hello from here")),
            "{route:?}"
        );
    }
}

#[test]
fn arguments_are_read_in_place() {
    for route in ROUTES {
        let (mut grain, gallery) = room();
        assert_eq!(
            grain.call(gallery.measure(hit()), route),
            Ok(321),
            "{route:?}"
        );
        let label = String::from("to /a/path/longer/than/what/fits/inline@here");
        assert_eq!(
            grain.call(gallery.label("to ", hit()), route),
            Ok(label),
            "{route:?}"
        );
        assert_eq!(
            grain.call(gallery.length("twelve bytes"), route),
            Ok(12),
            "{route:?}"
        );
    }
}

#[test]
fn arguments_are_read_in_place_across_a_wait() {
    for route in ROUTES {
        let (mut grain, gallery) = room();
        assert_eq!(
            grain.call(gallery.measure_slowly(hit(), 2), route),
            Ok(642),
            "{route:?}"
        );
        assert_eq!(grain.call(gallery.add(0), route), Ok(3), "{route:?}");
    }
}

#[test]
fn a_method_that_the_contract_does_not_have_is_refused() {
    let (mut grain, gallery) = room();
    let count = GalleryRef::METHODS.len() as u16;
    for number in [count, count + 1, u16::MAX] {
        let step = grain.begin_with(MethodId(number), Arguments::Value(&mut Payload::new(())));
        assert!(
            matches!(step, Step::Refused(Status::UnknownMethod)),
            "{number}"
        );
    }
    assert_eq!(grain.call(gallery.add(1), Route::Value), Ok(1));
}

#[test]
fn a_value_of_another_type_is_refused() {
    let (mut grain, gallery) = room();
    for number in 0..GalleryRef::METHODS.len() as u16 {
        let mut odd = Payload::new((vec![0_i8; 3], 'x'));
        let step = grain.begin_with(MethodId(number), Arguments::Value(&mut odd));
        // What is read in place is encoded first, and then is bytes like any other.
        if !READ_IN_PLACE.contains(&GalleryRef::METHODS[usize::from(number)].name) {
            assert!(
                matches!(step, Step::Refused(Status::Undecodable)),
                "{number}"
            );
        } else {
            let _ = grain.finish(step);
        }
    }
    assert!(grain.call(gallery.add(1), Route::Value).is_ok());
}

const READ_IN_PLACE: [&str; 4] = ["measure", "label", "measure_slowly", "length"];

#[test]
fn too_few_bytes_are_refused_and_leave_the_grain_alone() {
    let (mut grain, gallery) = room();
    grain.call(gallery.add(1), Route::Value).unwrap();
    for (number, method) in GalleryRef::METHODS.iter().enumerate() {
        if method.arguments.is_empty() {
            continue;
        }
        let step = grain.begin_with(
            MethodId(number as u16),
            Arguments::Bytes((&Block::new()).into()),
        );
        assert_eq!(
            grain.finish(step).unwrap_err(),
            Status::Undecodable,
            "{}",
            method.name
        );
    }
    assert_eq!(grain.call(gallery.add(0), Route::Value), Ok(1));
}

#[test]
fn changed_bytes_run_a_handler_or_are_refused_but_nothing_else() {
    let (mut grain, gallery) = room();
    let shard = Shard::new();
    let messages = [
        shard.send(gallery_on(&shard).eight(
            1,
            -2,
            3,
            -4,
            true,
            'f',
            "g".repeat(20),
            (None, [0; 2]),
        )),
        shard.send(gallery_on(&shard).nap(0, "a greeting that is not inline")),
        shard.send(gallery_on(&shard).measure(hit())),
        shard.send(gallery_on(&shard).label("a prefix that is not inline", hit())),
        shard.send(gallery_on(&shard).measure_slowly(hit(), 2)),
    ];
    for message in messages {
        let bytes = encoded(&message.payload);
        let mut refused = 0;
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let block = Block::copy_from(&changed);
            let step = grain.begin_with(message.method, Arguments::Bytes((&block).into()));
            match grain.finish(step) {
                Err(status) => {
                    assert_eq!(status, Status::Undecodable);
                    refused += 1;
                }
                Ok(_) => assert!(grain.call(gallery.add(0), Route::Value).is_ok()),
            }
        }
        assert!(
            refused > bytes.len(),
            "{refused} of {} bits matter",
            bytes.len() * 8
        );
    }
}

fn gallery_on(shard: &Shard) -> GalleryRef {
    shard.reference("here")
}

#[test]
fn a_reference_knows_its_kind_key_and_methods() {
    let shard = Shard::new();
    let gallery = shard.reference::<GalleryRef>("left wing");
    assert_eq!(gallery.key(), "left wing");
    assert_eq!(format!("{gallery:?}"), "GalleryRef(Gallery/left wing)");
    let message = shard.send(gallery.clone().clear());
    assert_eq!(message.method, MethodId(1));
    assert_eq!(message.target.contract.kind, KindId::of("Gallery"));
    assert_eq!(message.target.key.as_str(), "left wing");
    assert_eq!(message.target.contract.fingerprint, GalleryRef::FINGERPRINT);
    assert_eq!(GalleryRef::METHODS[6].name, "nap");
    assert_eq!(GalleryRef::METHODS[6].arguments[1].name, "greeting");
}

#[test]
fn a_factory_sees_the_context_of_the_grain_it_makes() {
    let kind = GalleryRef::kind_with(|ctx| Room {
        total: ctx.key().len() as u64,
    });
    let (mut grain, gallery) = Hosted::new::<GalleryRef>(&kind);
    assert_eq!(grain.call(gallery.add(0), Route::Value), Ok(4));
}

#[derive(Default)]
struct Counter {
    total: u64,
}

#[grain(name = "hits")]
impl Counter {
    const STEP: u64 = 10;

    fn starting_at(total: u64) -> Self {
        Self { total }
    }

    fn is_even(&self) -> bool {
        self.total.is_multiple_of(2)
    }

    fn add(&mut self, mut steps: u64) -> bool {
        steps *= Self::STEP;
        self.total += steps;
        self.is_even()
    }

    #[allow(
        clippy::needless_arbitrary_self_type,
        reason = "it is the same receiver"
    )]
    async fn add_all(self: &mut Self, ctx: &Ctx, all: &Archived<Vec<u64>>) -> u64 {
        for n in all.iter() {
            ctx.sleep(Duration::from_millis(1)).await;
            self.total += n.to_native();
        }
        self.total
    }
}

#[test]
fn an_impl_block_is_a_contract_of_its_exclusive_methods() {
    for route in ROUTES {
        let (mut grain, counter) =
            Hosted::new::<CounterRef>(&CounterRef::kind_with(|_| Counter::starting_at(1)));
        assert_eq!(grain.call(counter.add(2), route), Ok(false), "{route:?}");
        assert_eq!(
            grain.call(counter.add_all(vec![3, 4, 5]), route),
            Ok(33),
            "{route:?}"
        );
    }
    let names: Vec<_> = CounterRef::METHODS
        .iter()
        .map(|method| method.name)
        .collect();
    assert_eq!(names, ["add", "add_all"]);
}

#[test]
fn a_kind_is_called_as_the_options_say() {
    let kind = CounterRef::kind();
    assert_eq!((kind.name(), kind.id()), ("hits", KindId::of("hits")));
    assert_eq!(kind.fingerprint(), CounterRef::FINGERPRINT);
    assert_eq!(kind.methods(), CounterRef::METHODS);
    assert_eq!(GalleryRef::kind::<Room>().name(), "Gallery");
}

/// Names that generated code uses itself, and a type where a type parameter might have been.
#[grain]
trait Clash {
    fn names(&mut self, ctx: u8, grain: u8, method: u8, arguments: u8) -> u64;
    fn in_place(&mut self, archived: &Archived<String>, outcome: u8, generated: u8) -> u32;
    async fn waits(&mut self, context: &Ctx, ctx: u8, grain: &Archived<T>, argument_0: u8) -> u8;
    fn r#type(&mut self, r#fn: u8) -> u8;
}

#[message]
struct T {
    n: u8,
}

struct Anything;

impl Clash for Anything {
    fn names(&mut self, ctx: u8, grain: u8, method: u8, arguments: u8) -> u64 {
        [ctx, grain, method, arguments]
            .iter()
            .fold(0, |sum, n| sum * 10 + u64::from(*n))
    }

    fn in_place(&mut self, archived: &Archived<String>, outcome: u8, generated: u8) -> u32 {
        archived.len() as u32 * 100 + u32::from(outcome) * 10 + u32::from(generated)
    }

    async fn waits(&mut self, _: &Ctx, ctx: u8, grain: &Archived<T>, argument_0: u8) -> u8 {
        futures_lite::future::yield_now().await;
        ctx * 100 + grain.n * 10 + argument_0
    }

    fn r#type(&mut self, r#fn: u8) -> u8 {
        r#fn
    }
}

#[test]
fn arguments_may_have_any_name() {
    let (mut grain, clash) = Hosted::new::<ClashRef>(&ClashRef::kind_with(|_| Anything));
    for route in ROUTES {
        assert_eq!(
            grain.call(clash.names(1, 2, 3, 4), route),
            Ok(1234),
            "{route:?}"
        );
        assert_eq!(
            grain.call(clash.in_place("five.", 6, 7), route),
            Ok(567),
            "{route:?}"
        );
        assert_eq!(
            grain.call(clash.waits(1, T { n: 2 }, 3), route),
            Ok(123),
            "{route:?}"
        );
        assert_eq!(grain.call(clash.r#type(9), route), Ok(9), "{route:?}");
    }
    assert_eq!(ClashRef::METHODS[3].name, "type");
    assert_eq!(ClashRef::METHODS[3].arguments[0].name, "fn");
}

/// Types that come through a macro are in invisible brackets.
macro_rules! contract {
    ($text:ty, $ctx:ty, $archived:ty) => {
        #[grain]
        trait Made {
            fn concat(&mut self, ctx: $ctx, a: $text, b: &Archived<$text>, c: $archived) -> $text;
        }
    };
}

contract!(String, &Ctx, &Archived<String>);

struct Concat;

impl Made for Concat {
    fn concat(
        &mut self,
        ctx: &Ctx,
        a: String,
        b: &Archived<String>,
        c: &Archived<String>,
    ) -> String {
        format!("{} {a}{b}{c}", ctx.key())
    }
}

#[test]
fn a_contract_may_come_out_of_a_macro() {
    let (mut grain, made) = Hosted::new::<MadeRef>(&MadeRef::kind_with(|_| Concat));
    for route in ROUTES {
        let expected = Ok(String::from("here abc"));
        assert_eq!(
            grain.call(made.concat("a", "b", "c"), route),
            expected,
            "{route:?}"
        );
    }
}
