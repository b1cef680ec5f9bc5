//! Subresources of the backend's own.

use http::Method;
use kubridge_bridge::{
    caller::{Code, Ran},
    wire,
};

use crate::{
    fake::{Fault, gone},
    support::{ROBOTS, message, robots, whole},
};

#[tokio::test(start_paused = true)]
async fn an_action_takes_its_address_from_the_url_and_the_rest_from_the_body() {
    let client = robots();
    let wave = format!("{ROBOTS}/a/wave");
    let body = r#"{"kind":"WaveRobotRequest","apiVersion":"fleet.example.com/v1","namespace":"evil","name":"evil","times":3}"#;
    let answer = client.post(&wave, body).await;
    assert_eq!(
        (answer.code, answer.text()),
        (201, r#"{"kind":"WaveRobotResponse","apiVersion":"fleet.example.com/v1","said":"waved 3 times"}"#)
    );
    let sent = client.fake.last("WaveRobot");
    let texts: Vec<(u32, &[u8])> = wire::fields(&sent)
        .map(Result::unwrap)
        .filter(|f| f.number < 3)
        .map(|f| (f.number, f.value))
        .collect();
    assert_eq!(texts, [(1, &b"ns"[..]), (2, b"a")], "never what the body says");
}

#[tokio::test(start_paused = true)]
async fn no_body_is_an_empty_message_and_a_bad_one_is_400() {
    let client = robots();
    let wave = format!("{ROBOTS}/a/wave");
    let answer = client.post(&wave, "").await;
    assert_eq!((answer.code, &answer.json()["said"]), (201, &"waved 0 times".into()));
    for (query, body) in [
        ("", "{"),
        ("", r#"{"kind":"Pod"}"#),
        ("", r#"{"apiVersion":"v1"}"#),
        ("", r#"{"times":"many"}"#),
        ("?fieldValidation=Strict", r#"{"bogus":1}"#),
    ] {
        let answer = client.post(&format!("{wave}{query}"), body).await;
        assert_eq!(answer.code, 400, "{body}: {}", answer.text());
    }
    let warned = client.post(&wave, r#"{"bogus":1}"#).await;
    assert_eq!(
        (warned.code, warned.warnings.as_slice()),
        (201, &[r#"unknown field "bogus""#.to_owned()][..])
    );
    assert_eq!(client.fake.count("WaveRobot"), 2);
}

#[tokio::test(start_paused = true)]
async fn other_methods_of_an_action_are_405_and_its_errors_are_told() {
    let client = robots();
    let wave = format!("{ROBOTS}/a/wave");
    assert_eq!(client.get(&wave).await.code, 405);
    assert_eq!(client.put(&wave, "{}").await.code, 405);
    client.fake.fail("WaveRobot", Code::FailedPrecondition, "the robot has no arms");
    let answer = client.post(&wave, "").await;
    assert_eq!(answer.code, 422);
    assert!(message(&answer).contains("the robot has no arms"));
    client.fake.fault("WaveRobot", Fault::Fail(gone(Ran::Unknown)));
    assert_eq!(client.post(&wave, "").await.code, 504);
}

#[tokio::test(start_paused = true)]
async fn a_server_stream_is_lines_of_json() {
    let client = robots();
    let log = format!("{ROBOTS}/a/log");
    let answer = client.get(&log).await;
    assert_eq!(answer.code, 200);
    assert_eq!(
        answer.text(),
        "{\"kind\":\"LogLine\",\"apiVersion\":\"fleet.example.com/v1\",\"text\":\"booting\"}\n{\"kind\":\"LogLine\",\"apiVersion\":\"fleet.example.com/v1\",\"text\":\"ready\"}"
    );
    client.fake.fault("LogRobot", Fault::BreakAfter(0, gone(Ran::Unknown)));
    assert_eq!(client.get(&log).await.code, 503);
    client.fake.fault("LogRobot", Fault::BreakAfter(1, gone(Ran::Unknown)));
    let reply = client.send(Method::GET, &log, &[], "").await.unwrap();
    assert!(whole(reply).await.is_err(), "a stream that looks whole");
}
