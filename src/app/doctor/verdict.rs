//! What is said of a hop, and how a report of all of them reads.

use std::fmt::Write as _;

use serde::Serialize;

/// A hop of a request on its way from kube-apiserver through Kubridge to a backend, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Hop {
    /// The APIService claims the group and version for Kubridge's Service, and says where the backend is.
    ApiService,
    /// The Service leads somewhere.
    Service,
    /// What answers there shows a certificate that `spec.caBundle` vouches for.
    Tls,
    /// The cluster says by which certificate and headers Kubridge knows the kube-apiserver.
    FrontProxy,
    /// What kube-apiserver itself says of the APIService.
    Available,
    /// `/apis/GROUP/VERSION`, asked through kube-apiserver.
    Discovery,
    /// The documents of the group and version, asked through kube-apiserver.
    OpenApi,
    /// The rights of Kubridge's service account.
    Grants,
    /// The backend itself.
    Backend,
}

/// How a hop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// As it must be.
    Ok,
    /// It cannot be looked at from here, or by who asks: nobody's fault.
    NotTried,
    /// It works, and could be better.
    Warning,
    /// Requests fail because of it.
    Broken,
}

/// What is said of a hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How it is.
    pub state: State,
    /// In one line.
    pub summary: String,
    /// More of it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What to do, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// A hop, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// Which.
    pub hop: Hop,
    /// What is said of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// All hops of one APIService.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Examination {
    /// "v1.inventory.example.com".
    pub api_service: String,
    /// In the order of a request.
    pub hops: Vec<Examined>,
    /// The first that is broken.
    pub first_broken: Option<Hop>,
}

/// What `kubridge doctor` found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// Whether no hop is broken.
    pub passed: bool,
    /// One for each APIService.
    pub api_services: Vec<Examination>,
}

impl Hop {
    fn title(self) -> &'static str {
        match self {
            Self::ApiService => "APIService",
            Self::Service => "Service",
            Self::Tls => "TLS",
            Self::FrontProxy => "front proxy",
            Self::Available => "Available",
            Self::Discovery => "discovery",
            Self::OpenApi => "OpenAPI",
            Self::Grants => "grants",
            Self::Backend => "backend",
        }
    }
}

impl State {
    fn title(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotTried => "not tried",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }
}

impl Verdict {
    pub(super) fn ok(summary: impl Into<String>) -> Self {
        Self::new(State::Ok, &summary.into(), None)
    }

    pub(super) fn not_tried(summary: impl Into<String>) -> Self {
        Self::new(State::NotTried, &summary.into(), None)
    }

    pub(super) fn warning(summary: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(State::Warning, &summary.into(), Some(mend.into()))
    }

    pub(super) fn broken(summary: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(State::Broken, &summary.into(), Some(mend.into()))
    }

    fn new(state: State, summary: &str, mend: Option<String>) -> Self {
        Self { state, summary: one_line(summary), details: Vec::new(), mend }
    }

    /// With one more line, or as many as `text` has.
    pub(super) fn detail(mut self, text: impl AsRef<str>) -> Self {
        let lines = text.as_ref().lines().filter(|line| !line.trim().is_empty());
        self.details.extend(lines.map(|line| line.trim_end().to_owned()));
        self
    }

    /// With the rights that are missing to find out more, for example.
    pub(super) fn with_mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// One of several for the same hop: the worst one (the first of such), with the others as its details.
    pub(super) fn worst_of(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut verdicts: Vec<Self> = verdicts.into_iter().collect();
        let worst = verdicts.iter().map(|verdict| verdict.state).max();
        let at = verdicts.iter().position(|verdict| Some(verdict.state) == worst);
        let mut one = verdicts.remove(at.expect("somebody judged"));
        for other in verdicts {
            let state = match other.state {
                State::Ok => String::new(),
                state => format!("{}: ", state.title()),
            };
            let mend = other.mend.map(|mend| format!("; {mend}")).unwrap_or_default();
            one.details.push(format!("{state}{}{mend}", other.summary));
            one.details.extend(other.details);
        }
        one
    }
}

impl Examination {
    pub(super) fn new(api_service: &str, hops: Vec<(Hop, Verdict)>) -> Self {
        let hops: Vec<Examined> = hops.into_iter().map(|(hop, verdict)| Examined { hop, verdict }).collect();
        let first_broken =
            hops.iter().find(|examined| examined.verdict.state == State::Broken).map(|broken| broken.hop);
        Self { api_service: api_service.to_owned(), hops, first_broken }
    }
}

impl DoctorReport {
    pub(super) fn new(api_services: Vec<Examination>) -> Self {
        let passed = api_services.iter().all(|examination| examination.first_broken.is_none());
        Self { passed, api_services }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for examination in &self.api_services {
            let _ = writeln!(text, "{}", examination.api_service);
            for Examined { hop, verdict } in &examination.hops {
                let Verdict { state, summary, details, mend } = verdict;
                let _ = writeln!(text, "  {:<9}  {:<11}  {summary}", state.title(), hop.title());
                for detail in details {
                    let _ = writeln!(text, "{:26}{detail}", "");
                }
                if let Some(mend) = mend {
                    let _ = writeln!(text, "{:26}mend: {mend}", "");
                }
            }
            text.push('\n');
        }
        text + &self.last_line()
    }

    /// For programs.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and lists") + "\n"
    }

    fn last_line(&self) -> String {
        let first = self.api_services.iter().find_map(|one| Some((one.first_broken?, &one.api_service)));
        if let Some((hop, api_service)) = first {
            return format!("The first broken hop is {}, of {api_service}.\n", hop.title());
        }
        let count = |state| {
            let hops = self.api_services.iter().flat_map(|one| &one.hops);
            hops.filter(|examined| examined.verdict.state == state).count()
        };
        match (count(State::Warning), count(State::NotTried)) {
            (0, 0) => "No hop is broken.\n".to_owned(),
            (warnings, not_tried) => {
                format!("No hop is broken ({warnings} with a warning, {not_tried} not tried).\n")
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_is_the_hops() {
        let ready = Verdict::ok("it is ready");
        let quiet = Verdict::not_tried("nobody looked").detail("10.0.0.1:1: refused");
        let late = Verdict::warning("it is late", "wait");
        let dead = Verdict::broken("it is\n dead", "start it");
        let one = Verdict::worst_of([ready.clone(), late.clone(), dead, quiet.clone()]);
        assert_eq!((one.state, one.summary.as_str()), (State::Broken, "it is dead"));
        assert_eq!(one.mend.as_deref(), Some("start it"));
        let details =
            ["it is ready", "warning: it is late; wait", "not tried: nobody looked", "10.0.0.1:1: refused"];
        assert_eq!(one.details, details);
        assert_eq!(Verdict::worst_of([ready.clone(), quiet]).state, State::NotTried);
        assert_eq!(Verdict::worst_of([ready.clone(), late]).state, State::Warning);
        assert_eq!(Verdict::worst_of([ready.clone()]), ready);
    }

    #[test]
    fn a_line_for_each_hop_and_the_first_broken_one_last() {
        let good = Examination::new("v1.a.example.com", vec![(Hop::Service, Verdict::ok("there"))]);
        let report = DoctorReport::new(vec![good.clone()]);
        assert!(report.passed);
        let text = "v1.a.example.com\n  ok         Service      there\n\nNo hop is broken.\n";
        assert_eq!(report.text(), text);

        let hops = vec![
            (Hop::ApiService, Verdict::warning("so so", "mind it")),
            (Hop::Tls, Verdict::not_tried("not from here")),
            (Hop::Discovery, Verdict::broken("503", "start it").detail("in its words\n\n  more")),
            (Hop::Backend, Verdict::broken("dead", "start that")),
        ];
        let report = DoctorReport::new(vec![good, Examination::new("v1.b.example.com", hops)]);
        assert!(!report.passed);
        let text = report.text();
        assert!(text.contains("  warning    APIService   so so\n                          mend: mind it\n"));
        assert!(text.contains("  not tried  TLS          not from here\n"));
        let broken = "  broken     discovery    503\n                          in its words\n                            more\n";
        assert!(text.contains(broken), "{text}");
        assert!(text.ends_with("\nThe first broken hop is discovery, of v1.b.example.com.\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap_or_default();
        assert_eq!(json["passed"], false);
        let second = &json["apiServices"][1];
        assert_eq!(second["firstBroken"], "discovery");
        assert_eq!(
            second["hops"][1],
            serde_json::json!({"hop": "tls", "state": "notTried", "summary": "not from here"})
        );
    }
}
