//! A kubeconfig (`k8s.io/client-go/tools/clientcmd/api/v1`), as far as a delegate needs it: where a kube-apiserver
//! is, what its certificate is verified against, and how we prove who we are.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use serde::Deserialize;

/// The largest kubeconfig, or file that it names, that is read.
const MAX_FILE: u64 = 4 << 20;

/// A kube-apiserver, and how it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The host name or IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What its certificate is verified against, PEM; `None`: the system's authorities.
    pub ca: Option<Vec<u8>>,
    /// Its certificate is not verified.
    pub insecure_skip_tls_verify: bool,
    /// The name in its certificate, where that is not the host.
    pub tls_server_name: Option<String>,
    /// Our certificate with intermediates, and its key, PEM.
    pub client_certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// Our bearer token.
    pub token: Option<Token>,
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// As written.
    Text(String),
    /// In a file that may change.
    File(PathBuf),
}

/// Why a kubeconfig cannot be used, and what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// A file.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The text is no kubeconfig.
    #[error("it is no kubeconfig: {0}")]
    Malformed(String),
    /// Something is missing or of a kind that is not read.
    #[error("{0}")]
    Unusable(String),
}

impl Kubeconfig {
    /// Reads the file's current context. Relative paths in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, KubeconfigError> {
        Self::read_context(path, None)
    }

    /// Reads one context of a file; none: its current one.
    pub fn read_context(path: &Path, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let text = read(path)?;
        let text = String::from_utf8(text).map_err(|error| KubeconfigError::Malformed(error.to_string()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")), context)
    }

    fn parse(text: &str, directory: &Path, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let file: File =
            serde_saphyr::from_str(text).map_err(|error| KubeconfigError::Malformed(error.to_string()))?;
        let unusable = |why: String| KubeconfigError::Unusable(why);
        let named = |what: &str, name: &str| {
            unusable(format!("it has no {what} {name:?}: kubectl config view shows what it has"))
        };
        let wanted = context.unwrap_or(&file.current_context);
        if wanted.is_empty() {
            let mend = "it has no current-context: choose one with kubectl config use-context NAME";
            return Err(unusable(mend.to_owned()));
        }
        let context = file.contexts.into_iter().find(|c| c.name == wanted);
        let context = context.ok_or_else(|| named("context", wanted))?.context;
        let cluster = file.clusters.into_iter().find(|c| c.name == context.cluster);
        let cluster = cluster.ok_or_else(|| named("cluster", &context.cluster))?.cluster;
        let user = file.users.into_iter().find(|u| u.name == context.user);
        let user = user.ok_or_else(|| named("user", &context.user))?.user;
        if user.exec.is_some() || user.auth_provider.is_some() || user.username.is_some() {
            let mend = "its user proves who they are by a program or a password: give a client certificate or a token \
                        (kubectl create token)";
            return Err(unusable(mend.to_owned()));
        }
        if cluster.proxy_url.is_some() {
            return Err(unusable(
                "its cluster is behind a proxy-url: name an address that is reached directly".to_owned(),
            ));
        }
        let (host, port) = server(&cluster.server).map_err(unusable)?;
        let bytes = |data: Option<String>, file: Option<PathBuf>| material(data, file, directory);
        let client_certificate = match (
            bytes(user.client_certificate_data, user.client_certificate)?,
            bytes(user.client_key_data, user.client_key)?,
        ) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(unusable(
                    "its user has a client certificate or a key, but not both: give both".to_owned(),
                ));
            }
        };
        let token = user.token.filter(|token| !token.is_empty()).map(Token::Text);
        let token = user.token_file.map(|path| Token::File(directory.join(path))).or(token);
        Ok(Self {
            host,
            port,
            ca: bytes(cluster.certificate_authority_data, cluster.certificate_authority)?,
            insecure_skip_tls_verify: cluster.insecure_skip_tls_verify,
            tls_server_name: cluster.tls_server_name.filter(|name| !name.is_empty()),
            client_certificate,
            token,
        })
    }
}

impl Token {
    /// The value of `Authorization`, marked as secret. A file is read each time: tokens of service accounts live an hour.
    ///
    /// # Errors
    /// The file cannot be read, or holds no token; the text names it.
    pub async fn bearer(&self) -> Result<HeaderValue, String> {
        let token = match self {
            Self::Text(token) => token.clone(),
            Self::File(path) => tokio::fs::read_to_string(path)
                .await
                .map_err(|error| format!("the delegate's token file {}: {error}", path.display()))?,
        };
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| "the delegate's token has characters that no token has".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Keys and tokens are secrets.
impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("client_certificate", &self.client_certificate.is_some())
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// `https://HOST[:PORT]`.
fn server(url: &str) -> Result<(String, u16), String> {
    let fault = |why: &str| format!("its cluster's server {url:?} {why}: it must be https://HOST:PORT");
    let uri: Uri = url.parse().map_err(|_| fault("is no URL"))?;
    if uri.scheme_str() != Some("https") {
        return Err(fault("is not https"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(fault("has a path"));
    }
    let host = uri.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(fault("has no host"));
    }
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

/// What is written in the file (base64) wins over what is in another one, as in kubectl.
fn material(
    data: Option<String>,
    file: Option<PathBuf>,
    directory: &Path,
) -> Result<Option<Vec<u8>>, KubeconfigError> {
    match (data.filter(|data| !data.is_empty()), file.filter(|file| !file.as_os_str().is_empty())) {
        (Some(data), _) => {
            let data: String = data.split_ascii_whitespace().collect();
            let decoded = STANDARD.decode(data);
            decoded
                .map(Some)
                .map_err(|error| KubeconfigError::Malformed(format!("a -data value is not base64: {error}")))
        }
        (None, Some(file)) => read(&directory.join(file)).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    let problem = |problem: String| KubeconfigError::File { path: path.to_owned(), problem };
    let size = fs::metadata(path).map_err(|error| problem(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(problem(format!("it has {size} bytes, at most {MAX_FILE} are read")));
    }
    fs::read(path).map_err(|error| problem(error.to_string()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    current_context: String,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(cluster: &str, user: &str) -> Result<Kubeconfig, String> {
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{{cluster}}}\nusers:\n- name: u\n  user: {{{user}}}\n\
             contexts:\n- name: x\n  context: {{cluster: c, user: u}}\ncurrent-context: x\n"
        );
        Kubeconfig::parse(&text, Path::new("/dir"), None).map_err(|error| error.to_string())
    }

    #[test]
    fn another_context_may_be_chosen() {
        let text = "clusters: [{name: a, cluster: {server: \"https://a\"}}, {name: b, cluster: {server: \"https://b\"}}]\n\
                    users: [{name: u, user: {}}]\n\
                    contexts: [{name: a, context: {cluster: a, user: u}}, {name: b, context: {cluster: b, user: u}}]\n\
                    current-context: a\n";
        let host = |context| Kubeconfig::parse(text, Path::new("/"), context).map(|config| config.host);
        assert_eq!(host(None).unwrap(), "a");
        assert_eq!(host(Some("b")).unwrap(), "b");
        assert!(host(Some("c")).unwrap_err().to_string().contains("no context \"c\""));
    }

    #[test]
    fn a_kubeconfig_with_everything_inside() {
        let config = parse(
            "server: \"https://[::1]:6443/\", certificate-authority-data: Q0E=, tls-server-name: kubernetes",
            "client-certificate-data: Q0VSVA==, client-key-data: S0VZ",
        )
        .unwrap();
        assert_eq!((config.host.as_str(), config.port), ("::1", 6443));
        assert_eq!(config.ca.as_deref(), Some(b"CA".as_slice()));
        assert_eq!(config.client_certificate, Some((b"CERT".to_vec(), b"KEY".to_vec())));
        assert_eq!(config.tls_server_name.as_deref(), Some("kubernetes"));
        assert!(!format!("{config:?}").contains("KEY"), "a secret is not shown");
    }

    #[test]
    fn a_token_may_be_in_a_file_beside_it() {
        let config = parse("server: \"https://a\"", "tokenFile: token").unwrap();
        assert_eq!((config.port, config.token), (443, Some(Token::File("/dir/token".into()))));
        let config = parse("server: \"https://a\"", "token: t").unwrap();
        assert_eq!(config.token, Some(Token::Text("t".to_owned())));
    }

    #[test]
    fn faults_name_the_mend() {
        for (cluster, user, part) in [
            ("server: \"http://a\"", "", "must be https://HOST:PORT"),
            ("server: \"https://a/path\"", "", "has a path"),
            ("server: \"https://a\"", "exec: {command: aws}", "kubectl create token"),
            ("server: \"https://a\"", "client-key-data: S0VZ", "give both"),
            ("server: \"https://a\", certificate-authority-data: \"*\"", "", "not base64"),
            ("server: \"https://a\", certificate-authority: nowhere.crt", "", "/dir/nowhere.crt"),
            ("server: \"https://a\", proxy-url: \"http://p\"", "", "reached directly"),
        ] {
            let error = parse(cluster, user).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let error = Kubeconfig::parse("clusters: []", Path::new("/"), None).unwrap_err().to_string();
        assert!(error.contains("use-context"), "{error}");
        assert!(Kubeconfig::parse("{", Path::new("/"), None).is_err());
    }
}
