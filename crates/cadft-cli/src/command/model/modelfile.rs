//! A `Modelfile` for Ollama: the GGUF file, the chat template in Ollama's own language, and what ends an answer.

use anyhow::{Context, Result};
use cadft_data::{DataError, GenerationPrompt, Message, Tokenizer};
use cadft_files::shown;
use std::path::Path;

/// What a chat template writes around each turn, if it does so in the same way for every turn.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Turns {
    /// What stands before the first turn if there is no system message.
    opening: String,
    /// Before and after a system message.
    system: [String; 2],
    /// Before and after a user's text. What follows it opens the answer.
    user: [String; 2],
    /// After an answer.
    answered: String,
}

/// Texts that stand for a turn, and that no template contains.
const SYSTEM: &str = "CADFT-SYSTEM-TEXT";
const USER: [&str; 2] = ["CADFT-FIRST-QUESTION", "CADFT-SECOND-QUESTION"];
const ANSWER: &str = "CADFT-FIRST-ANSWER";

impl Turns {
    /// Reads them off a few conversations, and checks them on others. `None` if turns are not all written alike.
    fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let render = |messages: &[Message], prompt| without_bos(tokenizer, messages, prompt).ok();
        let between =
            |messages: &[Message], prompt, texts: &[&str]| cut_at(&render(messages, prompt)?, texts);
        let [first, second] = USER;
        let (user, answer) = (Message::new("user", first), Message::new("assistant", ANSWER));
        let asked = [user.clone(), answer.clone(), Message::new("user", second)];
        let with_system = [&[Message::new("system", SYSTEM)][..], &asked].concat();

        let pair = between(&[user.clone(), answer], GenerationPrompt::Omit, &[first, ANSWER])?;
        let three = between(&asked, GenerationPrompt::Add, &[first, ANSWER, second])?;
        let four = between(
            &with_system,
            GenerationPrompt::Add,
            &[SYSTEM, first, ANSWER, second],
        )?;
        let answered = pair.last()?.clone();
        let before_user = three[2].strip_prefix(answered.as_str())?.to_owned();
        let found = Self {
            opening: three[0].strip_suffix(before_user.as_str())?.to_owned(),
            system: [
                four[0].clone(),
                four[1].strip_suffix(before_user.as_str())?.to_owned(),
            ],
            user: [before_user, three.last()?.clone()],
            answered,
        };
        let longer = [
            &with_system[..],
            &[Message::new("assistant", "Yes."), Message::new("user", "Why?")],
        ]
        .concat();
        let all = [&asked[..1], &asked, &longer[..2], &longer, &longer[1..]];
        let holds = |messages: &&[Message]| {
            render(messages, GenerationPrompt::Add).as_ref() == Some(&found.write(messages))
        };
        all.iter().all(holds).then_some(found)
    }

    /// A conversation as Ollama writes it by [`Self::template`].
    fn write(&self, messages: &[Message]) -> String {
        let system = messages.iter().find(|message| message.role() == "system");
        let mut text = match system {
            Some(message) => [&self.system[0], message.content(), &self.system[1]].concat(),
            None => self.opening.clone(),
        };
        for message in messages {
            match message.role() {
                "user" => text += &[&self.user[0], message.content(), &self.user[1]].concat(),
                "assistant" => text += &[message.content(), &self.answered].concat(),
                _ => {}
            }
        }
        text
    }

    /// The template in Ollama's language, that of Go's `text/template`.
    fn template(&self) -> String {
        let literal = |text: &String| text.replace("{{", r#"{{ "{{" }}"#);
        let [before_system, after_system] = self.system.each_ref().map(literal);
        let [before_user, after_user] = self.user.each_ref().map(literal);
        let (opening, answered) = (literal(&self.opening), literal(&self.answered));
        [
            "{{ if .System }}",
            &before_system,
            "{{ .System }}",
            &after_system,
            "{{ else }}",
            &opening,
            "{{ end }}{{ range .Messages }}{{ if eq .Role \"user\" }}",
            &before_user,
            "{{ .Content }}",
            &after_user,
            "{{ else if eq .Role \"assistant\" }}{{ .Content }}",
            &answered,
            "{{ end }}{{ end }}",
        ]
        .concat()
    }
}

/// A conversation without the tokens that the tokenizer puts before every text, as Ollama does too.
fn without_bos(
    tokenizer: &Tokenizer,
    messages: &[Message],
    prompt: GenerationPrompt,
) -> Result<String, DataError> {
    let text = tokenizer.render_chat(messages, prompt)?;
    let added = tokenizer.encode_with_special("")?;
    let added: String = added.iter().filter_map(|&id| tokenizer.token(id)).collect();
    Ok(text.strip_prefix(&added).unwrap_or(&text).to_owned())
}

/// What stands before, between and after `texts`. `None` if they are not all there, once and in this order.
fn cut_at(text: &str, texts: &[&str]) -> Option<Vec<String>> {
    let mut parts = vec![];
    let mut rest = text;
    for wanted in texts {
        let (before, after) = rest.split_once(wanted)?;
        parts.push(before.to_owned());
        rest = after;
    }
    parts.push(rest.to_owned());
    let once = texts.iter().all(|wanted| text.matches(wanted).count() == 1);
    once.then_some(parts)
}

/// What happened to the chat template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    Written,
    /// The model has none.
    Absent,
    /// Turns are not all written alike.
    Irregular,
}

/// Writes a `Modelfile` for a GGUF file.
pub(super) fn write(path: &Path, gguf: &Path, tokenizer: &Tokenizer) -> Result<Template> {
    let (text, template) = text(&from(path, gguf)?, tokenizer);
    cadft_files::write(path, text).with_context(|| format!("cannot write `{}`", shown(path)))?;
    Ok(template)
}

/// The GGUF file as the `Modelfile` names it: by its name if both are in one directory.
fn from(path: &Path, gguf: &Path) -> Result<String> {
    let folder = |path: &Path| path.parent().map(Path::to_owned);
    let (path, gguf) = (std::path::absolute(path)?, std::path::absolute(gguf)?);
    Ok(match gguf.file_name() {
        Some(name) if folder(&path) == folder(&gguf) => format!("./{}", name.to_string_lossy()),
        _ => gguf.to_string_lossy().into_owned(),
    })
}

fn text(from: &str, tokenizer: &Tokenizer) -> (String, Template) {
    let mut text = format!("FROM {from}\n");
    let turns = Turns::of(tokenizer).map(|turns| turns.template());
    let template = match turns.filter(|template| !template.contains("\"\"\"")) {
        Some(template) => {
            text += &format!("TEMPLATE \"\"\"{template}\"\"\"\n");
            Template::Written
        }
        None if tokenizer.chat_template().is_err() => Template::Absent,
        None => Template::Irregular,
    };
    let stops = tokenizer
        .stop_token_ids()
        .iter()
        .filter_map(|&id| tokenizer.token(id));
    for stop in stops.filter(|stop| !stop.contains(['"', '\n'])) {
        text += &format!("PARAMETER stop \"{stop}\"\n");
    }
    (text, template)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadft_data::Preset;

    fn tokenizer(template: &str) -> Tokenizer {
        let vocab = r#"{"<s>": 0, "</s>": 1, "a": 2}"#;
        let added = r#"[{"id": 0, "content": "<s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
            {"id": 1, "content": "</s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}]"#;
        let tokenizer = format!(
            r#"{{"version": "1.0", "added_tokens": {added}, "model": {{"type": "BPE", "vocab": {vocab}, "merges": []}},
                "post_processor": {{"type": "TemplateProcessing", "single": [{{"SpecialToken": {{"id": "<s>", "type_id": 0}}}},
                {{"Sequence": {{"id": "A", "type_id": 0}}}}], "pair": [],
                "special_tokens": {{"<s>": {{"id": "<s>", "ids": [0], "tokens": ["<s>"]}}}}}}}}"#
        );
        let config = serde_json::json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": template});
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tokenizer.json"), tokenizer).unwrap();
        std::fs::write(directory.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        Tokenizer::from_dir(directory.path()).unwrap()
    }

    #[test]
    fn chatml_is_written_in_the_language_of_ollama() {
        let (text, template) = text("./mine.gguf", &tokenizer(Preset::ChatMl.source()));
        assert_eq!(template, Template::Written);
        assert_eq!(
            text,
            "FROM ./mine.gguf\nTEMPLATE \"\"\"{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ else }}{{ end }}\
             {{ range .Messages }}{{ if eq .Role \"user\" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n<|im_start|>assistant\n\
             {{ else if eq .Role \"assistant\" }}{{ .Content }}<|im_end|>\n{{ end }}{{ end }}\"\"\"\nPARAMETER stop \"</s>\"\n"
        );
    }

    #[test]
    fn a_first_token_is_left_out_and_a_default_system_message_kept() {
        let source = "{{ bos_token }}{% if messages[0].role != 'system' %}[SYS]Be kind.[/SYS]{% endif %}{% for m in messages %}\
            {% if m.role == 'system' %}[SYS]{{ m.content }}[/SYS]{% elif m.role == 'user' %}[{{ '{{' }}]{{ m.content }}[/U]\
            {% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}";
        let turns = Turns::of(&tokenizer(source));
        // The space before an answer belongs to the answer alone, so the prompt lacks it.
        assert_eq!(turns, None);
        let turns = Turns::of(&tokenizer(&source.replace("{% else %} ", "{% else %}"))).unwrap();
        assert_eq!(turns.opening, "[SYS]Be kind.[/SYS]");
        assert_eq!(turns.answered, "</s>");
        assert!(
            turns.template().contains("[{{ \"{{\" }}]{{ .Content }}[/U]"),
            "{}",
            turns.template()
        );
    }

    #[test]
    fn turns_that_are_not_written_alike_have_no_template() {
        let last_only =
            "{% for m in messages %}{% if loop.last %}L{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}";
        let (text, template) = text("./mine.gguf", &tokenizer(last_only));
        assert_eq!(template, Template::Irregular);
        assert_eq!(text, "FROM ./mine.gguf\nPARAMETER stop \"</s>\"\n");
    }

    #[test]
    fn a_file_beside_it_is_named_alone() {
        let from = |path: &str, gguf: &str| from(Path::new(path), Path::new(gguf)).unwrap();
        assert_eq!(from("out/Modelfile", "out/mine.gguf"), "./mine.gguf");
        assert!(from("Modelfile", "out/mine.gguf").ends_with("/out/mine.gguf"));
    }
}
