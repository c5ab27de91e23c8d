//! The managed instances of a pool, against a small GitHub and a small Auto Scaling that lose calls and answers.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::aws::{AwsError, Group, Instance, InstanceCall, LifecycleState};
use poolkeeper_core::github::answer::{Answer, Runner, RunnerStatus};
use poolkeeper_core::github::call::Call;
use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::message::{JobMessage, JobMessageKind};
use poolkeeper_core::github::request::{RequestId, Slot};
use poolkeeper_core::runners::{Judgement, MemberId, Origin, Runners, RunnersEffect, Target, Wishes};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};
use proptest::prelude::*;

use super::support::{Surroundings, settings};

const SET: u64 = 7;
const FRESH: Duration = Duration::from_secs(10);
const BOOT_DEADLINE: Duration = Duration::from_secs(300);
const IDLE_GRACE: Duration = Duration::from_secs(30);
/// Stored configs end by themselves.
const EXPIRY: Duration = Duration::from_secs(1800);
/// Rounds in which all is well, after which nothing may be left to do.
const ROUNDS: usize = 400;

mod directed;

/// What happens; the number chooses whom it happens to.
#[derive(Clone, Copy, Debug)]
enum Op {
    Launch,
    Boot(usize),
    TakeConfig(usize),
    StartJob {
        n: usize,
        told: bool,
    },
    EndJob {
        n: usize,
        told: bool,
    },
    /// GitHub says that a job ended which runs on.
    FalseEnd(usize),
    Describe,
    Answer {
        n: usize,
        how: How,
    },
    Wait(u64),
    Unprotect(usize),
    Vanish(usize),
    Want {
        target: u32,
        jobs_wait: bool,
    },
    /// The daemon starts anew, and remembers nothing.
    Restart,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
enum How {
    Well,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is not carried out, and nobody knows.
    Lost,
    Refused,
    /// GitHub claims that there is no such runner.
    FalselyGone,
}

/// Who tells lies in a world: both at once would be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Liar {
    Lists,
    Gate,
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..8usize;
    let how =
        prop_oneof![6 => Just(How::Well), 1 => Just(How::AnswerLost), 1 => Just(How::Lost), 1 => Just(How::Refused)];
    prop_oneof![
        4 => Just(Op::Launch),
        4 => n.clone().prop_map(Op::Boot),
        6 => n.clone().prop_map(Op::TakeConfig),
        6 => (n.clone(), any::<bool>()).prop_map(|(n, told)| Op::StartJob { n, told }),
        4 => (n.clone(), any::<bool>()).prop_map(|(n, told)| Op::EndJob { n, told }),
        2 => n.clone().prop_map(Op::FalseEnd),
        10 => Just(Op::Describe),
        20 => (n.clone(), how).prop_map(|(n, how)| Op::Answer { n, how }),
        6 => prop_oneof![1..5_000u64, 5_000..70_000u64, Just(310_000)].prop_map(Op::Wait),
        1 => n.clone().prop_map(Op::Unprotect),
        1 => n.prop_map(Op::Vanish),
        2 => (0..5u32, any::<bool>()).prop_map(|(target, jobs_wait)| Op::Want { target, jobs_wait }),
        1 => Just(Op::Restart),
    ]
}

/// A runner as GitHub knows it.
#[derive(Clone, Debug)]
struct Registered {
    instance: ShortText,
    online: bool,
    busy: bool,
}

/// A call that has not ended.
#[derive(Clone, Debug)]
enum Asked {
    GitHub(MemberId, Call),
    Aws(Target, InstanceCall),
}

struct World {
    around: Surroundings,
    machine: Runners,
    group: Group,
    launched: u32,
    runners: BTreeMap<u64, Registered>,
    last_runner: u64,
    slots: BTreeMap<Slot, u64>,
    last_slot: u64,
    /// By instance, the runner that a stored config is of, and when it was stored.
    stored: BTreeMap<ShortText, (u64, Instant)>,
    asked: Vec<Asked>,
    described_at: Option<Instant>,
    /// What the last describe showed as in service and protected, and what was protected since.
    protected: BTreeSet<ShortText>,
    desired: u32,
    target: u32,
    /// Whether jobs wait for a runner.
    jobs_wait: bool,
    /// Whether GitHub keeps runners that are at work.
    has_gate: bool,
    /// Instances that this life of the daemon was shown.
    shown: BTreeSet<ShortText>,
    /// How many instances were ended by proof.
    ended: u32,
    liar: Option<Liar>,
}

impl World {
    fn new() -> Self {
        Self {
            around: Surroundings::new(),
            liar: None,
            machine: trusted(),
            group: Group { new_instances_protected: true, max_size: 9, desired: 2, ..Group::default() },
            launched: 0,
            runners: BTreeMap::new(),
            last_runner: 0,
            slots: BTreeMap::new(),
            last_slot: 0,
            stored: BTreeMap::new(),
            asked: Vec::new(),
            described_at: None,
            protected: BTreeSet::new(),
            desired: 2,
            target: 2,
            jobs_wait: false,
            has_gate: true,
            shown: BTreeSet::new(),
            ended: 0,
        }
    }

    fn wishes(&self) -> Wishes {
        let useless = |i: &&Instance| self.machine.judge(&i.id) == Judgement::CannotServe;
        let useless = u32::try_from(self.group.instances.iter().filter(useless).count()).expect("few");
        let serves =
            |i: &&Instance| i.state == LifecycleState::InService && self.machine.judge(&i.id) == Judgement::Serves;
        Wishes {
            scale_set: SET,
            target: self.target,
            serving: u32::try_from(self.group.instances.iter().filter(serves).count()).expect("few"),
            desired: self.desired,
            writes: 0,
            goal: self.target + useless,
            jobs_wait: self.jobs_wait,
            idle_grace: IDLE_GRACE,
            boot_deadline: BOOT_DEADLINE,
            max_job_time: None,
            completes_hook: false,
            may_act: true,
            may_discard: true,
            may_issue: true,
            may_end: true,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Launch => self.launch(),
            Op::Boot(n) => self.boot(n),
            Op::TakeConfig(n) => self.take_config(n),
            Op::StartJob { n, told } => self.start_job(n, told),
            Op::EndJob { n, told } => self.end_job(n, told),
            Op::FalseEnd(n) => {
                let busy = self.runners.iter().filter(|(_, runner)| runner.busy).nth(n);
                if let Some((id, runner)) = busy.map(|(id, runner)| (*id, runner.instance.clone())) {
                    self.tell(JobMessageKind::Completed, id, &runner);
                }
            }
            Op::Describe => self.describe(),
            Op::Answer { n, how } if !self.asked.is_empty() => {
                let asked = self.asked.remove(n % self.asked.len());
                self.answer(asked, how);
            }
            Op::Answer { .. } => {}
            Op::Wait(ms) => self.around.wait(ms),
            Op::Unprotect(n) => {
                if let Some(instance) = self.group.instances.get_mut(n) {
                    instance.protected = false;
                }
            }
            Op::Vanish(n) => {
                if let Some(id) = self.group.instances.get(n).map(|instance| instance.id.clone()) {
                    self.leave(&id);
                }
            }
            Op::Want { target, jobs_wait } => (self.target, self.jobs_wait) = (target, jobs_wait),
            Op::Restart => self.restart(),
        }
        self.reconcile();
    }

    fn reconcile(&mut self) {
        if self.described_at.is_none_or(|at| self.around.now.since(at) >= FRESH) {
            return;
        }
        let mut effects = Vec::new();
        let wishes = self.wishes();
        let judged = self.judged();
        self.machine.reconcile(self.around.now, &wishes, &mut effects);
        assert_eq!(self.judged(), judged, "what is asked for changes nothing yet: the pool need not count again");
        self.carry_out(effects);
        self.machine.check();
        let due = self.machine.poll_timeout(self.around.now, &wishes);
        assert!(due.is_none_or(|at| at > self.around.now), "a timer lies ahead");
    }

    fn judged(&self) -> Vec<Judgement> {
        self.group.instances.iter().map(|instance| self.machine.judge(&instance.id)).collect()
    }

    fn carry_out(&mut self, effects: Vec<RunnersEffect>) {
        for effect in effects {
            match effect {
                RunnersEffect::Call(member, call) => {
                    if let Call::JitConfig { runner, scale_set } = &call {
                        assert_eq!(*scale_set, SET);
                        assert!(self.protected.contains(runner), "no config before protection: {runner}");
                    }
                    self.asked.push(Asked::GitHub(member, call));
                }
                RunnersEffect::Aws(target, mut call) => {
                    if let InstanceCall::Terminate { instance, decrement } = &mut call {
                        self.is_idle(instance);
                        self.machine.leaves(&target);
                        let wishes = self.wishes();
                        *decrement = self.machine.ends(&target, &wishes);
                        self.desired -= u32::from(*decrement);
                    }
                    if let InstanceCall::Protect { instances } = &call {
                        assert!(!instances.is_empty() && instances.len() <= 50);
                    }
                    self.asked.push(Asked::Aws(target, call));
                }
                RunnersEffect::CompleteHook(..) => panic!("no hook is to be completed"),
                RunnersEffect::Drop(slot) => {
                    assert!(self.slots.remove(&slot).is_some(), "a secret dies once: {slot:?}");
                }
                RunnersEffect::ShrinkRefused { .. } => self.desired += 1,
                RunnersEffect::ShrinkInDoubt | RunnersEffect::Note(_) => {}
            }
        }
    }

    /// Nobody works on an instance that is ended.
    fn is_idle(&self, instance: &str) {
        let busy = self.runners.values().any(|runner| runner.instance == instance && runner.busy);
        assert!(!busy, "a busy instance is ended: {instance}");
    }

    fn launch(&mut self) {
        if self.group.instances.len() < usize::try_from(self.group.desired).expect("few") {
            self.launched += 1;
            let id = format!("i-{}", self.launched);
            let instance = Instance {
                id: id.into(),
                state: LifecycleState::Pending,
                healthy: true,
                protected: false,
                waits: false,
            };
            self.group.instances.push(instance);
        }
    }

    fn boot(&mut self, n: usize) {
        if let Some(instance) = self.group.instances.get_mut(n)
            && instance.state == LifecycleState::Pending
        {
            (instance.state, instance.protected) = (LifecycleState::InService, n.is_multiple_of(2));
        }
    }

    fn take_config(&mut self, n: usize) {
        let now = self.around.now;
        self.stored.retain(|_, (_, at)| now.since(*at) < EXPIRY);
        let lives = |id: &ShortText| self.group.instances.iter().any(|instance| instance.id == *id);
        let Some(id) = self.stored.keys().filter(|id| lives(id)).nth(n).cloned() else { return };
        let (runner, _) = self.stored.remove(&id).expect("it is stored");
        // A config of a runner that was removed is good for nothing.
        if let Some(runner) = self.runners.get_mut(&runner) {
            runner.online = true;
        }
    }

    fn start_job(&mut self, n: usize, told: bool) {
        let able = self.runners.iter_mut().filter(|(_, runner)| runner.online && !runner.busy).nth(n);
        let Some((id, instance)) = able.map(|(id, runner)| {
            runner.busy = true;
            (*id, runner.instance.clone())
        }) else {
            return;
        };
        if told {
            self.tell(JobMessageKind::Started, id, &instance);
        }
    }

    fn end_job(&mut self, n: usize, told: bool) {
        let busy = self.runners.iter().filter(|(_, runner)| runner.busy).nth(n);
        let Some((id, instance)) = busy.map(|(id, runner)| (*id, runner.instance.clone())) else { return };
        self.runners.remove(&id);
        if told {
            self.tell(JobMessageKind::Completed, id, &instance);
        }
    }

    fn tell(&mut self, kind: JobMessageKind, runner_id: u64, runner_name: &str) {
        let message = JobMessage { kind, runner_id, runner_name: runner_name.into(), ..JobMessage::default() };
        self.machine.heard(self.around.now, &message);
    }

    fn describe(&mut self) {
        let protected = self.group.instances.iter().filter(|i| i.protected && i.state == LifecycleState::InService);
        self.protected = protected.map(|instance| instance.id.clone()).collect();
        let shrinking =
            |asked: &&Asked| matches!(asked, Asked::Aws(_, InstanceCall::Terminate { decrement: true, .. }));
        let shrinking = u32::try_from(self.asked.iter().filter(shrinking).count()).expect("few");
        self.desired = self.group.desired.max(shrinking);
        self.desired -= shrinking;
        self.shown.extend(self.group.instances.iter().map(|instance| instance.id.clone()));
        self.described_at = Some(self.around.now);
        self.machine.described(self.around.now, &self.group, &Origin::default());
    }

    fn leave(&mut self, id: &str) {
        self.group.instances.retain(|instance| instance.id != id);
        for runner in self.runners.values_mut().filter(|runner| runner.instance == id) {
            (runner.online, runner.busy) = (false, false);
        }
    }

    fn restart(&mut self) {
        self.machine = trusted();
        self.asked.clear();
        self.slots.clear();
        self.shown.clear();
        self.described_at = None;
    }

    fn answer(&mut self, asked: Asked, how: How) {
        match asked {
            Asked::GitHub(member, call) => {
                let carried_out = match how {
                    How::Well | How::AnswerLost => Some(self.github(&call)),
                    How::Lost | How::Refused | How::FalselyGone => None,
                };
                let result = match (how, carried_out) {
                    (How::Well, Some(result)) => result,
                    (How::Refused, _) => Err(failed(CallErrorKind::Denied)),
                    (How::FalselyGone, _) => self.lie(&call),
                    (_, _) => Err(failed(CallErrorKind::OutcomeUnknown)),
                };
                if let Ok(Answer::JitConfig { runner, config }) = &result {
                    self.slots.insert(*config, runner.id);
                }
                let wishes = self.wishes();
                let mut effects = Vec::new();
                self.machine.called(&mut self.around.turn(), member, result, &wishes, &mut effects);
                self.carry_out(effects);
            }
            Asked::Aws(target, call) => {
                let result = match how {
                    How::Well => self.aws(&call),
                    How::AnswerLost => {
                        drop(self.aws(&call));
                        Err(AwsError::Transport { message: "lost".into() })
                    }
                    How::Lost | How::FalselyGone => Err(AwsError::Transport { message: "lost".into() }),
                    How::Refused => Err(AwsError::Denied { message: "no".into() }),
                };
                let mut effects = Vec::new();
                self.machine.wrote(&mut self.around.turn(), &target, result, &mut effects);
                self.carry_out(effects);
            }
        }
    }

    fn github(&mut self, call: &Call) -> Result<Answer, CallError> {
        if let Call::RunnerByName { name } = call {
            return Ok(Answer::Runner(self.runner_named(name)));
        }
        if let Call::RemoveRunner { id } = call {
            return self.remove_runner(*id);
        }
        let Call::JitConfig { runner: instance, .. } = call else {
            panic!("nobody asks {call:?} about an instance");
        };
        if self.runners.values().any(|runner| runner.instance == *instance) {
            return Err(failed(CallErrorKind::RunnerExists));
        }
        self.last_runner += 1;
        self.last_slot += 1;
        let id = self.last_runner;
        self.runners.insert(id, Registered { instance: instance.clone(), online: false, busy: false });
        let runner = Runner { id, name: instance.clone(), runner_scale_set_id: SET, ..Runner::default() };
        Ok(Answer::JitConfig { runner, config: Slot(RequestId(self.last_slot)) })
    }

    /// GitHub claims that there is no such runner: either its lists do, or the gate does.
    fn lie(&mut self, call: &Call) -> Result<Answer, CallError> {
        if let Call::RunnerByName { name } = call
            && self.lives(name)
            && self.liar != Some(Liar::Gate)
        {
            self.liar = Some(Liar::Lists);
            return Ok(Answer::Runner(None));
        }
        if matches!(call, Call::RemoveRunner { .. }) && self.liar != Some(Liar::Lists) {
            self.liar = Some(Liar::Gate);
            return Err(failed(CallErrorKind::RunnerNotFound));
        }
        Err(failed(CallErrorKind::OutcomeUnknown))
    }

    fn lives(&self, id: &str) -> bool {
        self.group.instances.iter().any(|instance| *instance.id == *id)
    }

    fn runner_named(&self, name: &str) -> Option<Runner> {
        let (id, runner) = self.runners.iter().find(|(_, runner)| runner.instance == name)?;
        Some(Runner {
            id: *id,
            name: name.into(),
            runner_scale_set_id: SET,
            status: if runner.online { RunnerStatus::Online } else { RunnerStatus::Offline },
            busy: Some(runner.busy),
        })
    }

    fn remove_runner(&mut self, id: u64) -> Result<Answer, CallError> {
        match self.runners.get(&id) {
            None => Err(failed(CallErrorKind::RunnerNotFound)),
            Some(runner) if runner.busy && self.has_gate => Err(failed(CallErrorKind::JobStillRunning)),
            Some(runner) if runner.busy => Ok(Answer::Done),
            Some(_) => {
                self.runners.remove(&id);
                Ok(Answer::Done)
            }
        }
    }

    fn aws(&mut self, call: &InstanceCall) -> Result<(), AwsError> {
        match call {
            InstanceCall::Protect { instances } if !instances.iter().all(|id| self.lives(id)) => {
                Err(AwsError::Validation { message: "an instance is not part of the group".into() })
            }
            InstanceCall::Protect { instances } => {
                for instance in &mut self.group.instances {
                    if instances.contains(&instance.id) {
                        instance.protected = true;
                        self.protected.insert(instance.id.clone());
                    }
                }
                Ok(())
            }
            InstanceCall::Terminate { instance, .. } if !self.lives(instance) => {
                Err(AwsError::Validation { message: format!("Instance Id not found - {instance}") })
            }
            InstanceCall::Terminate { decrement: true, .. } if self.group.desired <= self.group.min_size => {
                Err(AwsError::Validation { message: "Currently, desiredSize equals minSize (0).".into() })
            }
            InstanceCall::Terminate { instance, decrement } => {
                self.is_idle(instance);
                self.ended += 1;
                self.group.desired -= u32::from(*decrement);
                self.leave(&instance.clone());
                Ok(())
            }
            InstanceCall::PutConfig { instance, config } => {
                let runner = self.slots.get(config).expect("a config is stored while its secret lives");
                self.stored.insert(instance.clone(), (*runner, self.around.now));
                Ok(())
            }
            InstanceCall::DeleteConfig { instance } => {
                self.stored.remove(instance);
                Ok(())
            }
            InstanceCall::CompleteHook { .. } | InstanceCall::WarmMembers { .. } => panic!("{call:?}"),
        }
    }

    /// All goes well for a while, and jobs end: in the end there are as many idle runners as are wanted.
    fn rest(&mut self) {
        self.jobs_wait = false;
        for _ in 0..ROUNDS {
            for n in 0..8 {
                self.launch();
                self.boot(n);
                self.take_config(n);
                self.end_job(n, true);
            }
            self.describe();
            let goal = self.wishes().goal;
            self.group.desired = self.group.desired.max(goal);
            self.reconcile();
            for asked in std::mem::take(&mut self.asked) {
                self.answer(asked, How::Well);
            }
            self.reconcile();
            self.around.wait(7_000);
        }
        let live: BTreeSet<_> = self.group.instances.iter().map(|instance| instance.id.clone()).collect();
        // Whoever went while nobody looked has left a runner that only a list of all would show.
        self.runners.retain(|_, runner| self.shown.contains(&runner.instance));
        let served: BTreeSet<_> = self.runners.values().map(|runner| runner.instance.clone()).collect();
        assert_eq!(live, served, "each instance has a runner, and no runner is left behind: {:?}", self.machine);
        assert!(self.runners.values().all(|runner| runner.online), "every runner came up");
        assert_eq!(u32::try_from(live.len()).expect("few"), self.target, "as many as are wanted: {:?}", self.machine);
        assert!(self.stored.is_empty(), "no config is left: {:?}", self.stored);
        assert!(self.slots.is_empty(), "no secret is left");
        assert!(!self.machine.is_busy(), "nothing is under way");
    }

    /// With nothing to do, nothing is done.
    fn idle(&mut self) {
        let ended = self.ended;
        for _ in 0..ROUNDS {
            self.describe();
            self.reconcile();
            for asked in std::mem::take(&mut self.asked) {
                self.answer(asked, How::Well);
            }
            self.around.wait(60_000);
        }
        assert_eq!(self.ended, ended, "no idle instance is replaced without cause");
    }
}

/// GitHub says that a job ended while it runs on, as it did in <https://github.com/actions/runner/issues/4492>.
fn failed(kind: CallErrorKind) -> CallError {
    CallError { kind, status: None, message: String::new(), retry_after: None, activity_id: None }
}

proptest! {
    #![proptest_config(settings(300))]

    #[test]
    fn nobody_at_work_is_ended_and_nothing_is_left_behind(ops in prop::collection::vec(op(), 0..200)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        world.rest();
        world.idle();
    }
}

/// A machine of a pool that was ours before.
fn trusted() -> Runners {
    let mut machine = Runners::default();
    machine.trust(true);
    machine
}
