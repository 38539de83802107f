//! What the quick benchmark takes for a regression.

#[path = "../../benches/load/goal.rs"]
mod goal;

use goal::{Goal, Sense};

#[test]
fn what_is_twice_as_bad_as_usual_is_a_regression_whatever_the_limit_is() {
    // The limit has no say in it: it may be far from what is usual, on either side.
    for (usual, limit) in [(0.62, 0.7), (0.62, 0.1), (5.3, 1.5), (1.15, 1.3), (5.2, 64.0), (300.0, 100.0)] {
        for (sense, worse) in [(Sense::AtLeast, 0.5), (Sense::AtMost, 2.0)] {
            let goal = Goal { sense, limit, usual };
            assert!(!goal.is_as_usual(usual * worse), "{goal:?}");
        }
        for (sense, worse) in [(Sense::AtLeast, 1.0 / 1.7), (Sense::AtMost, 1.7)] {
            let goal = Goal { sense, limit, usual };
            assert!(goal.is_as_usual(usual * worse), "{goal:?}");
            assert!(goal.is_as_usual(usual), "{goal:?}");
        }
    }
}

#[test]
fn a_limit_is_reached_from_the_good_side_and_by_no_value_that_is_none() {
    let least = Goal { sense: Sense::AtLeast, limit: 0.7, usual: 0.62 };
    assert!(least.is_reached(0.7) && least.is_reached(0.8) && !least.is_reached(0.69));
    let most = Goal { sense: Sense::AtMost, limit: 1.3, usual: 1.15 };
    assert!(most.is_reached(1.3) && most.is_reached(1.2) && !most.is_reached(1.31));
    for goal in [least, most] {
        assert!(!goal.is_reached(f64::NAN) && !goal.is_as_usual(f64::NAN));
    }
}
