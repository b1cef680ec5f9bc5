//! Who is believed to be the backend, and whom it believes.

use serde_json::json;

use crate::support::{
    Ca, Stack,
    extension::{ECHO, Extension, Speaks},
    https::{api_service, bench, register, stack, stack_with, unregistered},
};

async fn is_refused(stack: &Stack, why: &str) {
    stack.until(async |stack| stack.client.get(&format!("{ECHO}/echoes/one")).await.status == 503).await;
    stack
        .until(async |stack| {
            let [status, _, message] = stack.available("v1.echo.example.com").await;
            status == "False" && message.contains(why)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_services_own_name_and_ca_are_believed() {
    let (ca, other) = (Ca::new("backends"), Ca::new("others"));
    let backend = Extension::echo(&ca, Speaks::http2()).await;
    // Signed by somebody else.
    let stack = unregistered(backend.addr, &[]).await;
    register(&stack, &api_service(Some(&other.pem()))).await;
    is_refused(&stack, "not signed by the CA").await;
    // By nobody whom the system knows.
    let stack = unregistered(backend.addr, &[]).await;
    register(&stack, &api_service(None)).await;
    is_refused(&stack, "CA").await;
    // For another name, also that of the address.
    let misnamed = Speaks { names: vec!["127.0.0.1", "wardle.echo.svc"], ..Speaks::http2() };
    let elsewhere = Extension::echo(&ca, misnamed).await;
    let stack = unregistered(elsewhere.addr, &[]).await;
    register(&stack, &api_service(Some(&ca.pem()))).await;
    is_refused(&stack, "not for \"echo.wardle.svc\"").await;
    assert!(backend.seen().is_empty() && elsewhere.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_need_not_be_verified_is_not() {
    let ca = Ca::new("backends");
    let backend = Extension::echo(&ca, Speaks { names: vec!["whatever"], ..Speaks::http2() }).await;
    let mut service = api_service(None);
    service["spec"]["insecureSkipTLSVerify"] = json!(true);
    let stack = stack_with(backend.addr, &service, &[]).await;
    bench(&stack).get(&format!("{ECHO}/echoes/one")).await.expect(200);
    assert_eq!(backend.take().sni.as_deref(), Some("echo.wardle.svc"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_lets_in_who_shows_our_certificate() {
    let ca = Ca::new("backends");
    for speaks in [Speaks::http2(), Speaks::http1()] {
        let clients = Ca::new("front-proxies");
        let (certificate, key) = clients.client();
        let dir = tempfile::TempDir::new().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("proxy.crt"), certificate).unwrap();
        std::fs::write(file("proxy.key"), key).unwrap();
        let args = [
            format!("--proxy-client-cert-file={}", file("proxy.crt").display()),
            format!("--proxy-client-key-file={}", file("proxy.key").display()),
        ];
        let backend = Extension::echo(&ca, Speaks { client_ca: Some(clients.pem()), ..speaks.clone() }).await;
        let service = api_service(Some(&ca.pem()));
        let stack = stack_with(backend.addr, &service, &[&args[0], &args[1]]).await;
        bench(&stack).get(&format!("{ECHO}/echoes/one")).await.expect(200);
        let shown = backend.take().certificate.unwrap();
        // Another one is shown soon after the files have changed, without a restart.
        let (certificate, key) = clients.client();
        std::fs::write(file("proxy.crt"), certificate).unwrap();
        std::fs::write(file("proxy.key"), key).unwrap();
        stack
            .until(async |stack| {
                backend.cut();
                drop(stack.client.request(http::Method::GET, &format!("{ECHO}/echoes/two")).send().await);
                backend.seen().last().is_some_and(|seen| seen.certificate.as_ref() != Some(&shown))
            })
            .await;
        // Who shows another one is not let in, and the reason is said.
        let strict = Extension::echo(&ca, Speaks { client_ca: Some(ca.pem()), ..speaks }).await;
        let stack = unregistered(strict.addr, &[&args[0], &args[1]]).await;
        register(&stack, &service).await;
        is_refused(&stack, "--proxy-client-cert-file").await;
        assert!(strict.seen().is_empty());
    }
    // By default it is the one that gRPC backends are shown.
    let backend = Extension::echo(&ca, Speaks { client_ca: None, ..Speaks::http2() }).await;
    let stack = stack(backend.addr, &ca).await;
    bench(&stack).get(&format!("{ECHO}/echoes/one")).await.expect(200);
}
