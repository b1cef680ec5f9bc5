//! Lists: over one parent, over all, in pages.

use kubridge_bridge::caller::Code;

use crate::{
    service::{AnyParent, text},
    support::{API, BOOKS, Client, client},
};

fn shelves(client: &Client, count: usize) {
    for publisher in ["acme", "lulu"] {
        for i in 0..count {
            let name = format!("publishers/{publisher}/books/b{i}");
            client
                .service
                .put("Book", &format!("name: '{name}' title: 'B' labels {{ key: 'n' value: '{i}' }}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_and_all_of_them() {
    let client = client();
    shelves(&client, 2);
    assert_eq!(client.names(BOOKS).await.0, ["acme/b0", "acme/b1"]);
    let all = ["acme/b0", "acme/b1", "lulu/b0", "lulu/b1"];
    assert_eq!(client.names(&format!("{API}/books")).await.0, all);
    let last = client.service.last("ListBooks");
    assert_eq!(
        (text(&last, "parent"), last.get_field_by_name("view").unwrap().as_enum_number()),
        ("publishers/-".into(), Some(2))
    );
    assert_eq!(client.names(&format!("{API}/publishers")).await.0, ["/acme", "/lulu"]);
    assert_eq!(client.names(&format!("{API}/books?labelSelector=n%3D1")).await.0, ["acme/b1", "lulu/b1"]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_parent_has_an_empty_list() {
    let client = client();
    shelves(&client, 1);
    for namespace in ["nobody", "default", "a--b"] {
        assert_eq!(
            client.names(&format!("{API}/namespaces/{namespace}/books")).await.0,
            [""; 0],
            "{namespace}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn parents_are_gone_through_where_there_is_none_for_all() {
    let all = ["acme/b0", "lulu/b0"];
    for any in [AnyParent::IsUnknown, AnyParent::IsEmpty] {
        let client = client();
        shelves(&client, 1);
        client.service.state().any_parent = any;
        assert_eq!(client.names(&format!("{API}/books")).await.0, all, "{any:?}");
        assert_eq!(client.service.count("ListPublishers"), 1);
        assert_eq!(client.names(&format!("{API}/books")).await.0, all, "{any:?}");
    }
    let client = client();
    client.service.state().any_parent = AnyParent::IsUnknown;
    client.names(&format!("{API}/books")).await;
    let asked = client.service.count("ListBooks");
    assert_eq!(asked, 3, "`-`, acme, lulu");
    client.names(&format!("{API}/books")).await;
    assert_eq!(client.service.count("ListBooks"), asked + 2, "`-` is not asked for again");
    // Where `-` works, it is asked for alone.
    client.service.state().any_parent = AnyParent::Lists;
    let other = crate::support::client();
    shelves(&other, 1);
    other.names(&format!("{API}/books")).await;
    assert_eq!((other.service.count("ListBooks"), other.service.count("ListPublishers")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn pages_of_the_service_become_one_list() {
    let client = client();
    shelves(&client, 7);
    client.service.state().page = 3;
    assert_eq!(client.names(BOOKS).await.0.len(), 7);
    assert_eq!(client.service.count("ListBooks"), 3);
}

#[tokio::test(start_paused = true)]
async fn limit_and_continue_are_page_tokens() {
    for any in [AnyParent::Lists, AnyParent::IsUnknown] {
        let client = client();
        shelves(&client, 5);
        client.service.state().any_parent = any;
        client.service.state().page = 2;
        let (mut seen, mut token) = (Vec::new(), String::new());
        for turn in 0.. {
            assert!(turn < 20, "it ends");
            let (names, next) = client.names(&format!("{API}/books?limit=3&continue={token}")).await;
            assert!(names.len() <= 3, "{names:?}");
            seen.extend(names);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen.len(), 10, "{seen:?}");
        seen.dedup();
        assert_eq!(seen.len(), 10, "each once, in order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_token_that_expired_is_410() {
    let client = client();
    shelves(&client, 5);
    client.service.state().page = 2;
    let (_, token) = client.names(&format!("{BOOKS}?limit=2")).await;
    client.service.state().forgets_tokens = true;
    let answer = client.get(&format!("{BOOKS}?limit=2&continue={token}")).await;
    assert_eq!(answer.expect(410)["reason"], "Expired");
    client.service.state().forgets_tokens = false;
    client.get(&format!("{BOOKS}?limit=2&continue={token}")).await.expect(200);
    // One that never was a token of ours, and one of another list.
    client.get(&format!("{BOOKS}?limit=2&continue=abc")).await.expect(400);
    client.get(&format!("{API}/namespaces/lulu/books?limit=2&continue={token}")).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_whole_or_fails() {
    let client = client();
    shelves(&client, 5);
    client.service.state().page = 2;
    client.service.state().unreachable = vec!["locations/eu".into()];
    let answer = client.get(BOOKS).await;
    answer.expect(503);
    assert!(answer.log.contains("locations/eu"), "{}", answer.log);
    client.service.state().unreachable.clear();
    client.service.fail("ListBooks", Code::Internal, "");
    client.get(BOOKS).await.expect(500);
}

#[tokio::test(start_paused = true)]
async fn one_object_by_a_field_selector_is_a_get() {
    let client = client();
    shelves(&client, 5);
    assert_eq!(client.names(&format!("{BOOKS}?fieldSelector=metadata.name%3Db3")).await.0, ["acme/b3"]);
    assert_eq!(client.names(&format!("{BOOKS}?fieldSelector=metadata.name%3Dnone")).await.0, [""; 0]);
    assert_eq!(client.service.count("ListBooks"), 0);
    let all = format!("{API}/books?fieldSelector=metadata.name%3Db3");
    assert_eq!(client.names(&all).await.0, ["acme/b3", "lulu/b3"]);
}

#[tokio::test(start_paused = true)]
async fn several_patterns_are_one_list() {
    let client = client();
    shelves(&client, 1);
    client.service.put("Note", "name: 'publishers/acme/books/b0/notes/n1' text: 'on a book'");
    client.service.put("Note", "name: 'publishers/acme/notes/n2' text: 'on a publisher'");
    let all = ["acme--b0/n1", "publishers---acme/n2"];
    assert_eq!(client.names(&format!("{API}/notes")).await.0, all);
    client.service.state().any_parent = AnyParent::IsUnknown;
    let other = crate::support::client();
    other.service.state().any_parent = AnyParent::IsUnknown;
    shelves(&other, 1);
    other.service.put("Note", "name: 'publishers/acme/books/b0/notes/n1' text: 'on a book'");
    other.service.put("Note", "name: 'publishers/acme/notes/n2' text: 'on a publisher'");
    assert_eq!(other.names(&format!("{API}/notes")).await.0, all, "parents of parents are gone through");
    assert_eq!(
        client.names(&format!("{API}/namespaces/publishers---acme/notes")).await.0,
        ["publishers---acme/n2"]
    );
    let note = client.get(&format!("{API}/namespaces/acme--b0/notes/n1")).await.expect(200);
    assert_eq!(note["spec"]["text"], "on a book");
}
