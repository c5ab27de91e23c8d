//! Calls as forms.

use form_urlencoded::Serializer;
use poolkeeper_core::aws::AwsError;
use poolkeeper_core::short_text::ShortText;

/// The content type of a form.
pub const FORM_TYPE: &str = "application/x-www-form-urlencoded";
const API_VERSION: &str = "2011-01-01";
/// The largest number AWS counts capacity with.
const CAPACITY_MAX: u32 = i32::MAX.unsigned_abs();

/// A call on its way to become a form.
pub struct Form {
    action: &'static str,
    fields: Serializer<'static, String>,
}

impl Form {
    /// An action without parameters.
    #[must_use]
    pub fn new(action: &'static str) -> Self {
        let mut fields = Serializer::new(String::new());
        fields.append_pair("Action", action).append_pair("Version", API_VERSION);
        Self { action, fields }
    }

    /// `SetDesiredCapacity`, whatever a cooldown says.
    ///
    /// # Errors
    /// When AWS cannot count so far.
    pub fn set_desired_capacity(group: &str, desired: u32) -> Result<Self, AwsError> {
        if desired > CAPACITY_MAX {
            return Err(AwsError::Validation { message: format!("{desired} is more than AWS can count") });
        }
        let form = Self::new("SetDesiredCapacity").of_group(group);
        Ok(form.with("DesiredCapacity", &desired.to_string()).with("HonorCooldown", "false"))
    }

    /// With one more parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.append_pair(name, value);
        self
    }

    /// With the name of the group that it is about.
    #[must_use]
    pub fn of_group(self, group: &str) -> Self {
        self.with("AutoScalingGroupName", group)
    }

    /// With the place where a list goes on.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        match token {
            Some(token) => self.with("NextToken", &token),
            None => self,
        }
    }

    /// With a list of values.
    #[must_use]
    pub fn with_list(self, name: &str, values: &[ShortText]) -> Self {
        values.iter().zip(1..).fold(self, |form, (value, n): (_, u32)| form.with(&format!("{name}.member.{n}"), value))
    }

    /// The action, and the body that asks for it.
    #[must_use]
    pub fn finish(mut self) -> (&'static str, String) {
        (self.action, self.fields.finish())
    }
}
