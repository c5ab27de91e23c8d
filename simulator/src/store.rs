//! A model of the store that configs reach instances through: each is there until its instance takes it, somebody
//! deletes it, or it expires.

pub mod wire;

use std::collections::BTreeMap;

use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};

use crate::aws::{ApiError, Bucket, Rate};

/// How long a config stays at most.
const EXPIRES_AFTER: Duration = Duration::from_secs(1800);

/// Configs by instance.
#[derive(Clone, Debug, Default)]
pub struct ConfigStore {
    configs: BTreeMap<ShortText, Stored>,
    /// AWS limits each kind of call on its own.
    puts: Option<Bucket>,
    deletes: Option<Bucket>,
}

#[derive(Clone, Debug)]
struct Stored {
    config: String,
    until: Instant,
}

impl ConfigStore {
    /// An empty store with a rate of calls of each kind, as AWS has one for each; `None`: unlimited.
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        Self { configs: BTreeMap::new(), puts: rate.map(Bucket::new), deletes: rate.map(Bucket::new) }
    }

    /// Keeps a config for an instance, in place of one that is there.
    ///
    /// # Errors
    /// When there are too many calls.
    pub fn put(&mut self, now: Instant, instance: &str, config: String) -> Result<(), ApiError> {
        throttle(&mut self.puts, now)?;
        self.configs.insert(instance.into(), Stored { config, until: now + EXPIRES_AFTER });
        Ok(())
    }

    /// Deletes an instance's config; that there is none is as good.
    ///
    /// # Errors
    /// When there are too many calls.
    pub fn delete(&mut self, now: Instant, instance: &str) -> Result<(), ApiError> {
        throttle(&mut self.deletes, now)?;
        self.configs.remove(instance);
        Ok(())
    }

    /// An instance's config.
    #[must_use]
    pub fn get(&self, now: Instant, instance: &str) -> Option<&str> {
        self.configs.get(instance).filter(|stored| now < stored.until).map(|stored| stored.config.as_str())
    }

    /// An instance takes its config, and deletes it: where that is one call too many, the config stays.
    pub fn take(&mut self, now: Instant, instance: &str) -> Option<String> {
        let config = self.get(now, instance).map(str::to_owned);
        if config.is_some() {
            // Whether it stays is seen by those who look.
            drop(self.delete(now, instance));
        }
        config
    }

    /// The instances that a config is kept for.
    pub fn instances(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.configs.iter().filter(move |(_, stored)| now < stored.until).map(|(instance, _)| instance.as_str())
    }

    /// Changes the rate of calls of each kind; `None`: unlimited.
    pub fn set_rate(&mut self, rate: Option<Rate>) {
        (self.puts, self.deletes) = (rate.map(Bucket::new), rate.map(Bucket::new));
    }
}

fn throttle(bucket: &mut Option<Bucket>, now: Instant) -> Result<(), ApiError> {
    if bucket.as_mut().is_none_or(|bucket| bucket.take(now)) { Ok(()) } else { Err(ApiError::throttling()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_taken_once_and_expires() {
        let at = Instant::from_millis;
        let mut store = ConfigStore::default();
        store.put(at(0), "i-1", "one".to_owned()).unwrap();
        store.put(at(0), "i-2", "two".to_owned()).unwrap();
        store.put(at(1), "i-1", "again".to_owned()).unwrap();
        assert_eq!(store.instances(at(2)).collect::<Vec<_>>(), ["i-1", "i-2"]);
        assert_eq!(store.take(at(2), "i-1").as_deref(), Some("again"));
        assert_eq!(store.take(at(2), "i-1"), None);
        assert_eq!(store.instances(at(0) + EXPIRES_AFTER).count(), 0);
        assert_eq!(store.take(at(0) + EXPIRES_AFTER, "i-2"), None);
        store.delete(at(3), "i-3").unwrap();
    }

    #[test]
    fn a_config_that_an_instance_may_not_delete_stays() {
        let mut store = ConfigStore::new(Some(Rate { burst: 1, per_second: 1 }));
        let at = Instant::from_millis;
        store.put(at(0), "i-1", "one".to_owned()).unwrap();
        store.delete(at(5), "i-2").unwrap();
        assert_eq!(store.take(at(10), "i-1").as_deref(), Some("one"));
        assert_eq!(store.instances(at(20)).count(), 1);
        store.delete(at(2000), "i-1").unwrap();
        assert_eq!(store.instances(at(2000)).count(), 0);
    }

    #[test]
    fn a_store_has_a_rate() {
        let mut store = ConfigStore::new(Some(Rate { burst: 1, per_second: 1 }));
        let mut put = |ms| store.put(Instant::from_millis(ms), "i-1", String::new()).is_ok();
        assert_eq!([put(0), put(10), put(1100)], [true, false, true]);
    }
}
