//! Short simulations; `bday simulate` runs long ones.

use bday::clock::SystemClock;
use bday::dev::simulate::{SimulationOptions, SimulationReport, run};
use bday::model::LateJoin;

use crate::support::database::Database;

async fn simulated(users: u32, from: &str, years: u32, seed: u64, late_join: LateJoin) -> SimulationReport {
    let database = Database::empty().await;
    let from = from.parse().unwrap();
    let options = SimulationOptions { users, from, years, seed, late_join };
    let report = run(&options, database.url(), &SystemClock, &|_| {}).await.unwrap();
    assert!(report.is_right(), "seed {seed}: {:#?}", report.violations);
    report
}

#[tokio::test]
async fn two_years_with_a_leap_day_are_simulated_without_violations() {
    let total = simulated(300, "2027-01-01", 2, 1, LateJoin::Send).await.total();
    assert!(total.sent > 500, "{total:?}");
    assert!(total.leap > 0 && total.gap + total.overlap > 0, "{total:?}");
    assert!(total.late_joins > 0 && total.moved > 0 && total.deleted > 0, "{total:?}");
}

#[tokio::test]
async fn samoas_skipped_date_is_simulated_without_violations() {
    let total = simulated(150, "2011-10-01", 1, 2, LateJoin::Skip).await.total();
    assert!(total.sent > 10, "{total:?}");
}

#[tokio::test]
async fn a_database_with_tables_is_rejected() {
    let database = Database::new().await;
    let from = "2026-01-01".parse().unwrap();
    let options = SimulationOptions { users: 1, from, years: 1, seed: 1, late_join: LateJoin::Send };
    let error = run(&options, database.url(), &SystemClock, &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("give an empty database"), "{error}");
}
