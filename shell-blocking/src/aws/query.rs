//! Calls to EC2 Auto Scaling as the query protocol writes them.

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, GROUPS_A_PAGE, GroupQuery, InstanceCall, WARM_MEMBERS_A_PAGE};
use poolkeeper_core::github::request::Slot;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_shell::aws::CONTINUE;
use poolkeeper_shell::aws::query::{Form, xml};

use super::groups;

/// What a call asks for.
pub(super) enum Wanted {
    /// A query.
    Query(Query),
    /// A config to store.
    Put {
        /// For which instance.
        instance: ShortText,
        /// Where it is.
        config: Slot,
    },
    /// A config to delete.
    Delete {
        /// Of which instance.
        instance: ShortText,
    },
}

/// A query: its body, and how the reply is read.
pub(super) struct Query {
    pub(super) body: String,
    action: &'static str,
    read: Read,
}

/// Reads the reply to an action.
type Read = fn(&str, &str) -> Result<AwsReply, AwsError>;

impl Query {
    /// What its reply says.
    ///
    /// # Errors
    /// When it does not parse.
    pub(super) fn read(&self, reply: &str) -> Result<AwsReply, AwsError> {
        (self.read)(reply, self.action)
    }
}

/// How a call is made.
///
/// # Errors
/// When AWS could not count what it says.
pub(super) fn of_call(call: AwsCall) -> Result<Wanted, AwsError> {
    let action = call.action();
    Ok(match call {
        AwsCall::DescribeGroups { query: of, next_token } => {
            let form = Form::new(action).with("MaxRecords", &GROUPS_A_PAGE.to_string()).with_token(next_token);
            let form = match of {
                GroupQuery::Tagged { key, value } => form
                    .with("Filters.member.1.Name", &format!("tag:{key}"))
                    .with("Filters.member.1.Values.member.1", &value),
                GroupQuery::Named(names) => form.with_list("AutoScalingGroupNames", &names),
            };
            query(form, groups::groups)
        }
        AwsCall::SetDesiredCapacity { group, desired } => query(Form::set_desired_capacity(&group, desired)?, done),
        AwsCall::Instances { group, call } => about_instances(Form::new(action), &group, call),
    })
}

fn about_instances(form: Form, group: &str, call: InstanceCall) -> Wanted {
    let (form, read): (Form, Read) = match call {
        InstanceCall::Protect { instances } => {
            (form.of_group(group).with_list("InstanceIds", &instances).with("ProtectedFromScaleIn", "true"), done)
        }
        InstanceCall::Terminate { instance, decrement } => {
            let decrement = if decrement { "true" } else { "false" };
            (form.with("InstanceId", &instance).with("ShouldDecrementDesiredCapacity", decrement), done)
        }
        InstanceCall::CompleteHook { instance, hook } => {
            let form = form.of_group(group).with("InstanceId", &instance).with("LifecycleHookName", &hook);
            (form.with("LifecycleActionResult", CONTINUE), done)
        }
        InstanceCall::WarmMembers { next_token } => {
            let form = form.of_group(group).with("MaxRecords", &WARM_MEMBERS_A_PAGE.to_string());
            (form.with_token(next_token), groups::warm_members)
        }
        InstanceCall::PutConfig { instance, config } => return Wanted::Put { instance, config },
        InstanceCall::DeleteConfig { instance } => return Wanted::Delete { instance },
    };
    query(form, read)
}

/// A write was accepted once its reply has parsed.
fn done(body: &str, action: &str) -> Result<AwsReply, AwsError> {
    xml::reply(body, action, |_, _| Ok(()))?;
    Ok(AwsReply::Done)
}

/// A form that is read like this in return.
fn query(form: Form, read: Read) -> Wanted {
    let (action, body) = form.finish();
    Wanted::Query(Query { action, body, read })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(call: AwsCall) -> String {
        let Ok(Wanted::Query(query)) = of_call(call) else { panic!("a query") };
        query.body
    }

    #[test]
    fn a_describe_names_tag_and_page() {
        let query = GroupQuery::Tagged { key: "runs-on-stack".into(), value: "a b".into() };

        let body = body(AwsCall::DescribeGroups { query, next_token: Some("t=1".into()) });

        assert_eq!(
            body,
            "Action=DescribeAutoScalingGroups&Version=2011-01-01&MaxRecords=100&NextToken=t%3D1\
             &Filters.member.1.Name=tag%3Aruns-on-stack&Filters.member.1.Values.member.1=a+b"
        );
    }

    #[test]
    fn lists_count_from_one() {
        let call = InstanceCall::Protect { instances: vec!["i-1".into(), "i-2".into()] };

        let body = body(AwsCall::Instances { group: "ci".into(), call });

        assert!(
            body.ends_with("InstanceIds.member.1=i-1&InstanceIds.member.2=i-2&ProtectedFromScaleIn=true"),
            "{body}"
        );
    }

    #[test]
    fn what_aws_cannot_count_is_not_sent() {
        let call = AwsCall::SetDesiredCapacity { group: "ci".into(), desired: u32::MAX };

        assert!(matches!(of_call(call), Err(AwsError::Validation { .. })));
    }
}
