//! What managed instances cost beside what their jobs need, with the daemon there and with it gone for a night.

use super::managed::{instances, key, managed};
use super::*;

const JOB: Duration = Duration::from_secs(60);
const NIGHT: Duration = Duration::from_secs(8 * 3600);
/// What a job's instance may cost beside the job: the way into service and out, and standing by for the next one.
const BESIDE_A_JOB: Duration = Duration::from_secs(45);
/// An agent whose runner has ended waits for so long to be ended, before it ends itself.
const LEFT_ALONE: Duration = Duration::from_secs(150);

fn queue(simulation: &mut Simulation, jobs: usize) {
    for _ in 0..jobs {
        simulation.act(|world, at| world.queue_job(at, &key(), JobPlan::success(JOB)).unwrap());
    }
}

fn paid_ms(simulation: &Simulation) -> u64 {
    simulation.world().ledger().totals_ref().paid_ms
}

#[test]
fn what_is_paid_for_is_what_jobs_need_and_a_little() {
    for seed in SEEDS {
        let mut simulation = Simulation::new(managed("0"), seed);
        let mut jobs = 0;
        for burst in 1..=20 {
            queue(&mut simulation, burst % 4);
            jobs += u64::try_from(burst % 4).unwrap();
            simulation.run_for(Duration::from_secs(180));
        }
        simulation.run_until_quiet(LONG).unwrap();
        simulation.run_for(LONG);
        assert_eq!((simulation.world().ledger().totals_ref().ended_well, instances(&simulation).len()), (jobs, 0));
        let most = jobs * (JOB + BESIDE_A_JOB).as_millis();
        let paid = paid_ms(&simulation);
        assert!(paid <= most, "{paid} ms of instances for {jobs} jobs, and {most} ms are enough");
        assert_eq!(simulation.world().ledger().totals_ref().starts.cold, jobs, "one instance a job");
    }
}

#[test]
fn while_the_daemon_is_gone_for_a_night_each_instance_ends_itself_and_none_comes_in_its_place() {
    for seed in SEEDS {
        let mut simulation = Simulation::new(managed("0"), seed);
        queue(&mut simulation, 3);
        simulation.run_for(Duration::from_secs(30));
        let started = simulation.world().ledger().totals_ref().starts.cold;
        assert!(started > 0);
        simulation.crash();
        simulation.run_for(NIGHT);
        let totals = simulation.world().ledger().totals_ref();
        assert_eq!((totals.starts.cold, instances(&simulation).len()), (started, 0));
        let most = started * (JOB + BESIDE_A_JOB + LEFT_ALONE).as_millis();
        assert!(totals.paid_ms <= most, "{} ms of {started} instances, and {most} ms are enough", totals.paid_ms);
        simulation.start();
        queue(&mut simulation, 1);
        simulation.run_until_quiet(LONG).unwrap();
        assert!(simulation.violations().is_empty(), "{:?}", simulation.violations());
    }
}

#[test]
fn who_stands_by_costs_no_more_while_the_daemon_is_gone() {
    let mut simulation = Simulation::new(managed("2"), 3);
    simulation.run_for(Duration::from_secs(120));
    simulation.crash();
    simulation.run_for(NIGHT);
    assert_eq!(simulation.world().ledger().totals_ref().starts.cold, 2, "two stand by, and two is what was wanted");
    assert_eq!(instances(&simulation).len(), 2);
}
