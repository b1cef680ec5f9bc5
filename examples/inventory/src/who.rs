//! Who asks, as Kubridge says it. To be believed only over mTLS from Kubridge's certificate:
//! on a plaintext port anyone who reaches it can write these entries.

use prost::Message as _;
use tonic::metadata::MetadataMap;

use crate::contract::UserInfo;

/// The user's name for the log; `-` where nobody is named.
pub(crate) fn user(metadata: &MetadataMap) -> String {
    let info = metadata
        .get_bin("kubridge-user-bin")
        .and_then(|value| value.to_bytes().ok())
        .and_then(|bytes| UserInfo::decode(bytes).ok());
    let named = info.map(|info| info.username).filter(|name| !name.is_empty());
    let readable = || metadata.get("x-remote-user").and_then(|v| v.to_str().ok()).map(str::to_owned);
    named.or_else(readable).unwrap_or_else(|| "-".to_owned())
}
