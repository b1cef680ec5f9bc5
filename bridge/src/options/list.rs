//! The options of list, watch and deletecollection.

use super::{Query, check_resource_version, checked, int64};
use crate::{
    proto,
    selector::{FieldSelector, LabelSelector},
    status::{ApiError, StatusCause, quote},
};

/// The options of a list or a watch, read and checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListOptions {
    /// What the backend gets. `limit` is never negative (Kubernetes reads that as no limit).
    pub wire: proto::ListOptions,
    /// `wire.label_selector`, read.
    pub labels: LabelSelector,
    /// `wire.field_selector`, read. Whether its fields exist the resource says ([`FieldSelector::check`]).
    pub fields: FieldSelector,
    /// `wire.resource_version` as a number; 0: none or "0".
    pub version: u64,
}

impl ListOptions {
    /// Reads a query. `watch` is the request's verb: the old `/watch/` paths have no such parameter.
    pub fn parse(query: &str, watch: bool) -> Result<Self, ApiError> {
        let query = Query::parse(query);
        let text = |key: &str| query.get(key).unwrap_or_default().to_owned();
        let wire = proto::ListOptions {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            watch,
            resource_version: text("resourceVersion"),
            timeout_seconds: int64(&query, "timeoutSeconds")?,
            limit: int64(&query, "limit")?.unwrap_or_default().max(0),
            r#continue: text("continue"),
            allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
            resource_version_match: text("resourceVersionMatch"),
            send_initial_events: query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents")),
        };
        let labels = LabelSelector::parse(&wire.label_selector)?;
        let fields = FieldSelector::parse(&wire.field_selector)?;
        checked("ListOptions", if watch { watch_faults(&wire) } else { list_faults(&wire) })?;
        let version = check_resource_version(&wire.resource_version)?;
        if !watch && !wire.r#continue.is_empty() && version != 0 {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Ok(Self { wire, labels, fields, version })
    }

    /// The client wants the present state as events first, then a bookmark that says so.
    pub fn wants_initial_events(&self) -> bool {
        self.wire.send_initial_events == Some(true)
    }

    /// 422 for a watch that wants initial events of a resource that cannot give them. client-go then lists.
    pub fn initial_events_forbidden() -> ApiError {
        let text = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        ApiError::invalid(
            "meta.k8s.io",
            "ListOptions",
            "",
            vec![StatusCause::forbidden("sendInitialEvents", text)],
        )
    }
}

const EXACT: &str = "Exact";
const NOT_OLDER: &str = "NotOlderThan";
const MATCH: &str = "resourceVersionMatch";

fn list_faults(o: &proto::ListOptions) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    let mut forbid = |field: &str, text: &str| causes.push(StatusCause::forbidden(field, text));
    let how = o.resource_version_match.as_str();
    if !how.is_empty() {
        if o.resource_version.is_empty() {
            forbid(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !o.r#continue.is_empty() {
            forbid(MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
        if how == EXACT && o.resource_version == "0" {
            forbid(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if how != EXACT && how != NOT_OLDER {
            causes.push(StatusCause::not_supported(MATCH, &quote(how), &[EXACT, NOT_OLDER, ""]));
        }
    }
    if o.send_initial_events.is_some() {
        causes.push(StatusCause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    causes
}

fn watch_faults(o: &proto::ListOptions) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    let how = o.resource_version_match.as_str();
    if o.send_initial_events.is_some() && how != NOT_OLDER {
        let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        causes.push(StatusCause::forbidden(MATCH, text));
    }
    if !how.is_empty() {
        if o.send_initial_events.is_none() {
            let text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(StatusCause::forbidden(MATCH, text));
        }
        if how != NOT_OLDER {
            causes.push(StatusCause::not_supported(MATCH, &quote(how), &[NOT_OLDER]));
        }
        if !o.r#continue.is_empty() {
            causes.push(StatusCause::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
    }
    causes
}
