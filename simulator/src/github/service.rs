//! The Actions Service's front door: authorization, version, then the call.

use super::GitHub;
use super::reply::{FORBIDDEN, NO_VERSION, UNAUTHORIZED};
use super::rest::bearer;
use super::route::{ServiceCall, query_value};
use super::scale_set::set_not_found;
use super::token::Grant;
use crate::http::{HttpRequest, HttpResponse};

const API_VERSION: &str = "6.0-preview";

impl GitHub {
    pub(super) fn service(&mut self, request: &HttpRequest, tenant: &str, call: ServiceCall) -> HttpResponse {
        if let ServiceCall::Acquire { set } = call {
            return check_version(request).err().unwrap_or_else(|| self.acquire(request, set));
        }
        let scope = match self.enter(request, tenant) {
            Ok(scope) => scope,
            Err(refusal) => return refusal,
        };
        if let Some(refusal) = self.foreign_set(&scope, &call) {
            return refusal;
        }
        let origin = &request.origin;
        match call {
            ServiceCall::RunnerGroups { name } => self.runner_groups(&scope, name.as_deref()),
            ServiceCall::ScaleSets { group, name } => self.list_sets(origin, &scope, group, name.as_deref()),
            ServiceCall::CreateScaleSet => self.create_set(request, &scope),
            ServiceCall::ScaleSet { set } => self.show_set(origin, set),
            ServiceCall::UpdateScaleSet { set } => self.update_set(request, set),
            ServiceCall::DeleteScaleSet { set } => self.delete_set(set),
            ServiceCall::JitConfig { set } => self.generate_jit_config(request, set),
            ServiceCall::CreateSession { set } => self.create_session(request, set),
            ServiceCall::RefreshSession { set, session } => self.refresh_session(origin, set, &session),
            ServiceCall::DeleteSession { set, session } => self.delete_session(set, &session),
            ServiceCall::Acquire { set } => self.acquire(request, set),
            ServiceCall::AcquirableJobs { set } => self.acquirable_jobs(set),
            ServiceCall::Runners { name } => self.list_runners(&scope, name.as_deref()),
            ServiceCall::Runner { runner } => self.show_runner(&scope, runner),
            ServiceCall::RemoveRunner { runner } => self.delete_runner(&scope, runner),
        }
    }

    /// The scope that the admin token opens.
    fn enter(&self, request: &HttpRequest, tenant: &str) -> Result<String, HttpResponse> {
        let granted = bearer(request).and_then(|token| self.tokens.grant(token, self.now.mono));
        let Some(Grant::Admin(scope)) = granted else {
            return Err(UNAUTHORIZED.reply("The token is unknown or has ended."));
        };
        if self.tenants.get(scope).is_none_or(|known| known.id != tenant) {
            return Err(FORBIDDEN.reply("The token is for another tenant."));
        }
        check_version(request)?;
        Ok(scope.clone())
    }

    /// The refusal of a scale set that does not exist in the scope, should the call name one.
    fn foreign_set(&self, scope: &str, call: &ServiceCall) -> Option<HttpResponse> {
        let id = match call {
            ServiceCall::ScaleSet { set }
            | ServiceCall::UpdateScaleSet { set }
            | ServiceCall::DeleteScaleSet { set }
            | ServiceCall::JitConfig { set }
            | ServiceCall::CreateSession { set }
            | ServiceCall::RefreshSession { set, .. }
            | ServiceCall::DeleteSession { set, .. }
            | ServiceCall::Acquire { set }
            | ServiceCall::AcquirableJobs { set } => *set,
            ServiceCall::RunnerGroups { .. }
            | ServiceCall::ScaleSets { .. }
            | ServiceCall::CreateScaleSet
            | ServiceCall::Runners { .. }
            | ServiceCall::Runner { .. }
            | ServiceCall::RemoveRunner { .. } => return None,
        };
        let known = self.sets.get(&id).is_some_and(|set| set.scope == scope);
        (!known).then(|| set_not_found(id))
    }
}

fn check_version(request: &HttpRequest) -> Result<(), HttpResponse> {
    let (_, query) = request.path_and_query();
    if query_value(query, "api-version").is_some_and(|v| v.starts_with(API_VERSION)) {
        return Ok(());
    }
    Err(NO_VERSION.reply("No api-version was supplied in the query."))
}
