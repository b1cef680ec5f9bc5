//! The self-subject reviews (`kubectl auth whoami`, `kubectl auth can-i`), answered for the one who asks.
//!
//! Create-only kinds: nothing is stored. A [`ReviewCaller`] is made for one request.

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use kubridge_bridge::{
    caller::{BackendStatus, Call, CallError, Caller, Code, Detail, FieldViolation},
    proto::{ObjectMeta, Time, UserInfo},
};
use prost::Message;

use super::{Attributes, Authorizer, Decision};
use crate::registry::proto::{
    authentication::{SelfSubjectReview, SelfSubjectReviewStatus},
    authorization::{
        NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SubjectAccessReviewStatus,
    },
};

/// "/kubridge.authentication.v1.SelfSubjectReviews/CreateSelfSubjectReview".
pub const WHO_AM_I: &str = "/kubridge.authentication.v1.SelfSubjectReviews/CreateSelfSubjectReview";
/// "/kubridge.authorization.v1.SelfSubjectAccessReviews/CreateSelfSubjectAccessReview".
pub const CAN_I: &str = "/kubridge.authorization.v1.SelfSubjectAccessReviews/CreateSelfSubjectAccessReview";

/// Answers the reviews of one user.
#[derive(Clone)]
pub struct ReviewCaller {
    user: Arc<UserInfo>,
    authorizer: Authorizer,
}

impl fmt::Debug for ReviewCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReviewCaller").field("user", &self.user.username).finish_non_exhaustive()
    }
}

impl ReviewCaller {
    /// For `user`, who is authenticated; `authorizer` is the one that lets requests through.
    pub fn new(user: Arc<UserInfo>, authorizer: Authorizer) -> Self {
        Self { user, authorizer }
    }

    fn who_am_i(&self, review: &SelfSubjectReview) -> SelfSubjectReview {
        SelfSubjectReview {
            metadata: Some(answered(review.metadata.as_ref())),
            status: Some(SelfSubjectReviewStatus { user_info: Some((*self.user).clone()) }),
        }
    }

    async fn can_i(&self, mut review: SelfSubjectAccessReview) -> Result<SelfSubjectAccessReview, CallError> {
        let spec = review.spec.clone().unwrap_or_default();
        let mut faults = metadata_faults(review.metadata.as_ref());
        let attributes = match (&spec.resource_attributes, &spec.non_resource_attributes) {
            (Some(resource), None) => Some(Attributes::from(resource)),
            (None, Some(other)) => Some(Attributes::from(other)),
            (Some(_), Some(_)) => {
                let text = "cannot be specified in combination with resourceAttributes";
                faults.push(fault("spec.nonResourceAttributes", "{...}", text));
                None
            }
            (None, None) => {
                let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                faults.push(fault("spec.resourceAttributes", "null", text));
                None
            }
        };
        let Some(attributes) = attributes.filter(|_| faults.is_empty()) else { return Err(invalid(faults)) };
        let decided = self.authorizer.authorize(&self.user, &attributes).await;
        let Decision { allowed, reason } = decided.map_err(|error| {
            tracing::warn!(%error, "whether somebody may cannot be told");
            status(Code::Unavailable, "the cluster's API server does not say: try again soon".into())
        })?;
        // Without a time, as in Kubernetes: it says nothing that would age.
        review.metadata = Some(ObjectMeta { creation_timestamp: None, ..answered(review.metadata.as_ref()) });
        review.status = Some(SubjectAccessReviewStatus {
            allowed,
            reason: reason.as_str().to_owned(),
            ..Default::default()
        });
        Ok(review)
    }
}

impl<'a> From<&'a ResourceAttributes> for Attributes<'a> {
    fn from(asked: &'a ResourceAttributes) -> Self {
        Self {
            is_resource: true,
            verb: &asked.verb,
            group: &asked.group,
            version: &asked.version,
            resource: &asked.resource,
            subresource: &asked.subresource,
            namespace: &asked.namespace,
            name: &asked.name,
            path: "",
        }
    }
}

impl<'a> From<&'a NonResourceAttributes> for Attributes<'a> {
    fn from(asked: &'a NonResourceAttributes) -> Self {
        Self { verb: &asked.verb, path: &asked.path, ..Self::default() }
    }
}

impl Caller for ReviewCaller {
    type Stream = BoxStream<'static, Result<Bytes, CallError>>;

    async fn unary(&self, call: Call) -> Result<Bytes, CallError> {
        match &*call.path {
            WHO_AM_I => {
                let review: SelfSubjectReview = decode(&call.message)?;
                let faults = metadata_faults(review.metadata.as_ref());
                if !faults.is_empty() {
                    return Err(invalid(faults));
                }
                Ok(self.who_am_i(&review).encode_to_vec().into())
            }
            CAN_I => Ok(self.can_i(decode(&call.message)?).await?.encode_to_vec().into()),
            other => Err(status(Code::Unimplemented, format!("{other} is not a review"))),
        }
    }

    async fn stream(&self, call: Call) -> Result<Self::Stream, CallError> {
        let answer = self.unary(call).await?;
        Ok(stream::iter([Ok(answer)]).boxed())
    }
}

/// A review names nothing: its metadata must be empty, but for what clients send unasked.
fn metadata_faults(metadata: Option<&ObjectMeta>) -> Vec<FieldViolation> {
    let given = metadata.cloned().unwrap_or_default();
    let allowed = ObjectMeta {
        managed_fields: given.managed_fields.clone(),
        creation_timestamp: given.creation_timestamp,
        ..Default::default()
    };
    if given == allowed { Vec::new() } else { vec![fault("metadata", "{...}", "must be empty")] }
}

fn answered(metadata: Option<&ObjectMeta>) -> ObjectMeta {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    ObjectMeta {
        creation_timestamp: Some(Time { seconds, nanos: 0 }),
        managed_fields: metadata.map(|metadata| metadata.managed_fields.clone()).unwrap_or_default(),
        ..Default::default()
    }
}

fn decode<M: Message + Default>(message: &[u8]) -> Result<M, CallError> {
    M::decode(message)
        .map_err(|error| status(Code::Internal, format!("a review that is not protobuf: {error}")))
}

fn fault(field: &str, value: &str, text: &str) -> FieldViolation {
    FieldViolation {
        field: field.into(),
        description: format!("Invalid value: {value}: {text}"),
        reason: "FieldValueInvalid".into(),
    }
}

fn invalid(faults: Vec<FieldViolation>) -> CallError {
    let message = FieldViolation::joined(&faults);
    let details = vec![Detail::FieldViolations(faults)];
    CallError::Status(Box::new(BackendStatus { code: Code::InvalidArgument, message, details }))
}

fn status(code: Code, message: String) -> CallError {
    CallError::Status(Box::new(BackendStatus { code, message, details: Vec::new() }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use kubridge_bridge::{caller::Class, proto::ExtraValue};

    use super::*;
    use crate::{config::AuthorizationMode, registry::proto::authorization::SelfSubjectAccessReviewSpec};

    fn caller() -> ReviewCaller {
        let user = UserInfo {
            username: "jane".into(),
            groups: vec!["dev".into(), "system:authenticated".into()],
            extra: [("scopes".to_owned(), ExtraValue { items: vec!["a".into()] })].into(),
            ..Default::default()
        };
        ReviewCaller::new(Arc::new(user), Authorizer::new(AuthorizationMode::SystemMasters))
    }

    async fn ask<M: Message, A: Message + Default>(path: &str, message: &M) -> Result<A, CallError> {
        let call = Call { path: path.into(), message: message.encode_to_vec().into(), class: Class::Write };
        caller().unary(call).await.map(|answer| A::decode(answer).unwrap())
    }

    async fn can_i(spec: SelfSubjectAccessReviewSpec) -> Result<SelfSubjectAccessReview, CallError> {
        ask(CAN_I, &SelfSubjectAccessReview { spec: Some(spec), ..Default::default() }).await
    }

    #[tokio::test]
    async fn whoami_tells_all_that_is_known_of_the_user() {
        let review: SelfSubjectReview = ask(WHO_AM_I, &SelfSubjectReview::default()).await.unwrap();
        let user = review.status.unwrap().user_info.unwrap();
        assert_eq!(user, *caller().user);
        assert!(review.metadata.unwrap().creation_timestamp.unwrap().seconds > 0);
    }

    #[tokio::test]
    async fn can_i_is_what_the_authorizer_says() {
        let oneself = ResourceAttributes {
            verb: "create".into(),
            group: "authentication.k8s.io".into(),
            resource: "selfsubjectreviews".into(),
            ..Default::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(oneself.clone()), ..Default::default() };
        let review = can_i(spec.clone()).await.unwrap();
        assert_eq!(review.spec, Some(spec), "the question comes back");
        assert!(review.status.unwrap().allowed);

        let delete = ResourceAttributes { verb: "delete".into(), ..oneself };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(delete), ..Default::default() };
        assert!(!can_i(spec).await.unwrap().status.unwrap().allowed);

        for (path, allowed) in [("/metrics", false), ("/apis", true)] {
            let asked = NonResourceAttributes { path: path.into(), verb: "get".into() };
            let spec =
                SelfSubjectAccessReviewSpec { non_resource_attributes: Some(asked), ..Default::default() };
            assert_eq!(can_i(spec).await.unwrap().status.unwrap().allowed, allowed, "{path}");
        }
    }

    #[tokio::test]
    async fn a_review_must_ask_one_thing_and_name_nothing() {
        let both = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes::default()),
            non_resource_attributes: Some(NonResourceAttributes::default()),
        };
        for (spec, field) in [
            (SelfSubjectAccessReviewSpec::default(), "spec.resourceAttributes"),
            (both, "spec.nonResourceAttributes"),
        ] {
            let CallError::Status(status) = can_i(spec).await.unwrap_err() else { panic!("no status") };
            assert_eq!(status.code, Code::InvalidArgument);
            let [Detail::FieldViolations(faults)] = &status.details[..] else { panic!("{status:?}") };
            assert_eq!(faults[0].field, field);
        }
        let named = SelfSubjectReview {
            metadata: Some(ObjectMeta { name: "me".into(), ..Default::default() }),
            ..Default::default()
        };
        let error = ask::<_, SelfSubjectReview>(WHO_AM_I, &named).await.unwrap_err();
        assert!(error.to_string().contains("must be empty"), "{error}");
    }
}
