//! Every parser with a few thousand inputs; `poolkeeper-sim parse-fuzz` has millions.

use poolkeeper_core::github::request::CallKind;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tempfile::TempDir;

use super::input::Change;
use super::*;

const SEED: u64 = 0x9a25;

fn input() -> impl Strategy<Value = Input> {
    let at = || 0..4096_usize;
    let change = prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        (at(), 0..40_usize).prop_map(|(at, token)| Change::Insert { at, token }),
        (at(), 1..40_usize).prop_map(|(at, len)| Change::Remove { at, len }),
        (at(), 1..60_usize, 1..300_usize).prop_map(|(at, len, times)| Change::Repeat { at, len, times }),
        at().prop_map(|at| Change::Cut { at }),
        (at(), 0..8_usize).prop_map(|(at, sample)| Change::Splice { at, sample }),
    ];
    prop_oneof![
        1 => proptest::collection::vec(any::<u8>(), 0..200).prop_map(Input::Bytes),
        5 => (0..8_usize, proptest::collection::vec(change, 0..6))
            .prop_map(|(sample, changes)| Input::Changed { sample, changes }),
    ]
}

#[test]
fn no_parser_panics_or_keeps_more_than_its_share() {
    let dir = TempDir::new().unwrap();
    for mut parser in all(dir.path()).unwrap() {
        let config = ProptestConfig {
            cases: 150,
            rng_seed: RngSeed::Fixed(SEED),
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let (name, samples) = (parser.name.clone(), parser.samples.clone());
        let parser = std::cell::RefCell::new(&mut parser);
        let result = TestRunner::new(config).run(&input(), |input| {
            let read = parser.borrow_mut().read(&input.bytes(&samples));
            read.map(drop).map_err(|excess| TestCaseError::fail(excess.to_string()))
        });
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn samples_are_what_their_parsers_take() {
    let dir = TempDir::new().unwrap();
    let mut parsers = all(dir.path()).unwrap();
    let of_replies = parsers.iter().filter(|parser| parser.name.starts_with("reply of")).count();
    assert_eq!(of_replies, CallKind::ALL.len());
    for parser in &mut parsers {
        assert!(!parser.samples.is_empty(), "{}", parser.name);
        for sample in parser.samples.clone() {
            parser.read(&sample).unwrap_or_else(|excess| panic!("{}: {excess}", parser.name));
        }
    }
}

#[test]
fn an_excess_is_noticed() {
    let mut echo = Parser::new("echo", &["x"], |bytes| bytes.len() * (KEPT_PER_BYTE + 1));
    assert_eq!(echo.read(b"short"), Ok(85));
    let given = KEPT_ANYWAY + 1;
    assert_eq!(echo.read(&vec![0; given]), Err(Excess { given, kept: given * (KEPT_PER_BYTE + 1) }));
}

#[test]
fn a_drawn_input_is_the_same_for_the_same_seed_and_bounded() {
    let samples = vec![b"{\"a\":1}".to_vec()];
    let draw = |seed| Input::draw(&mut poolkeeper_core::rng::Rng::new(seed)).bytes(&samples);
    assert_eq!(draw(7), draw(7));
    assert!((0..2_000).map(draw).all(|bytes| bytes.len() <= input::MAX_INPUT));
    assert!((0..2_000).map(draw).any(|bytes| bytes.len() > 1_000));
}
