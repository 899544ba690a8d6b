//! Conversations as text against `transformers`; see scripts/fixtures/make_chats.py.

use serde_json::Value;
use text::chat::{ChatTemplate, Message};

#[test]
fn conversations_are_written_as_transformers_writes_them() {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/chats.json")).unwrap();
    let tokens = br#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}}"#.to_vec();
    let files = [("tokenizer_config.json".to_owned(), tokens)];
    let (mut texts, mut refusals) = (0, 0);
    for case in fixture["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let source = fixture["templates"][name].as_str().unwrap();
        let template = ChatTemplate::new(source, &files).unwrap();
        let said =
            |m: &Value| Message::new(m["role"].as_str().unwrap(), m["content"].as_str().unwrap());
        let messages: Vec<Message> =
            case["messages"].as_array().unwrap().iter().map(said).collect();
        let found = template.render(&messages, case["answer"].as_bool().unwrap());
        match case["text"].as_str() {
            Some(expected) => {
                assert_eq!(found.unwrap(), expected, "{name}, {messages:?}");
                texts += 1;
            }
            None => {
                assert!(found.is_err(), "{name}, {messages:?}: {found:?}");
                refusals += 1;
            }
        }
    }
    assert_eq!((texts, refusals), (56, 4));
}
