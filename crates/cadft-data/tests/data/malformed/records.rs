//! Malformed records and their messages.

/// A record, and the full message.
pub(super) const RECORDS: [(&str, &str); 66] = [
    // Not JSON.
    ("{", "invalid JSON at column 1: EOF while parsing an object"),
    (
        r#"{"text": "a"} x"#,
        "invalid JSON at column 15: trailing characters",
    ),
    (
        r#"{"text": "a""#,
        "invalid JSON at column 12: EOF while parsing an object",
    ),
    (
        r#"{"text": "\ud800"}"#,
        "invalid JSON at column 17: unexpected end of hex escape",
    ),
    (
        r#"{"text": "a", "weight": NaN}"#,
        "invalid JSON at column 25: expected value",
    ),
    (
        r#"{"text": "a", "weight": 1e999}"#,
        "invalid JSON at column 29: number out of range",
    ),
    (
        r#"{'text': 'a'}"#,
        "invalid JSON at column 2: key must be a string",
    ),
    (r#"{"text": "a",}"#, "invalid JSON at column 14: trailing comma"),
    // Not an object.
    ("[]", "expected a JSON object, found a list"),
    (r#"[{"text": "a"}]"#, "expected a JSON object, found a list"),
    ("3", "expected a JSON object, found a number"),
    ("null", "expected a JSON object, found null"),
    // No known format.
    (
        "{}",
        "no `messages`, `conversations`, `prompt` and `completion`, `instruction` and `output`, or `text`: found no keys",
    ),
    (
        r#"{"question": "q", "answer": "a"}"#,
        "no `messages`, `conversations`, `prompt` and `completion`, `instruction` and `output`, or `text`: found \
         `question`, `answer`",
    ),
    (r#"{"prompt": "p"}"#, "`prompt` without `completion`"),
    (r#"{"completion": "c"}"#, "`completion` without `prompt`"),
    (r#"{"instruction": "i"}"#, "`instruction` without `output`"),
    (r#"{"output": "o"}"#, "`output` without `instruction`"),
    // Text.
    (r#"{"text": 3}"#, "`text`: expected a string, found a number"),
    (r#"{"text": ""}"#, "`text`: empty"),
    // Prompt and completion.
    (
        r#"{"prompt": "p", "completion": ""}"#,
        "`completion`: empty, there is nothing to learn",
    ),
    (
        r#"{"prompt": "p", "completion": []}"#,
        "`prompt` and `completion`: expected two strings or two lists of messages, found a string and a list",
    ),
    (
        r#"{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "user", "content": "q"}]}"#,
        "`completion`: no assistant turn",
    ),
    (
        r#"{"prompt": [], "completion": [{"role": "assistant", "content": "a"}]}"#,
        "`prompt`: no messages",
    ),
    // Alpaca.
    (r#"{"instruction": "", "output": "o"}"#, "`instruction`: empty"),
    (
        r#"{"instruction": "i", "output": ""}"#,
        "`output`: empty, there is nothing to learn",
    ),
    (
        r#"{"instruction": ["i"], "output": "o"}"#,
        "`instruction`: expected a string, found a list",
    ),
    (
        r#"{"instruction": "i", "input": 1, "output": "o"}"#,
        "`input`: expected a string, found a number",
    ),
    (
        r#"{"instruction": "i", "output": "o", "history": [["q"]]}"#,
        "`history[0]`: expected a list of two strings, an instruction and its output",
    ),
    // Messages.
    (
        r#"{"messages": {}}"#,
        "`messages`: expected a list of messages, found an object",
    ),
    (
        r#"{"messages": "[{"}"#,
        "`messages`: expected a list of messages, found a string that is no JSON list",
    ),
    (r#"{"messages": []}"#, "`messages`: no messages"),
    (
        r#"{"messages": ["hi"]}"#,
        "`messages[0]`: expected an object, found a string",
    ),
    (
        r#"{"messages": [[{"role": "user", "content": "q"}]]}"#,
        "`messages[0]`: expected an object, found a list",
    ),
    (
        r#"{"messages": [{"content": "q"}]}"#,
        "`messages[0]`: missing key `role`",
    ),
    (
        r#"{"messages": [{"role": null, "content": "q"}]}"#,
        "`messages[0]`: `role`: expected a string, found null",
    ),
    (
        r#"{"messages": [{"role": 1, "content": "q"}]}"#,
        "`messages[0]`: `role`: expected a string, found a number",
    ),
    (
        r#"{"messages": [{"role": "bot", "content": "a"}]}"#,
        "`messages[0]`: unknown role `bot`, expected one of `system`, `developer`, `user`, `assistant`, `tool`, \
         `function`, `ipython`",
    ),
    (
        r#"{"messages": [{"role": "user"}]}"#,
        "`messages[0]`: missing key `content`",
    ),
    (
        r#"{"messages": [{"role": "user", "content": null}]}"#,
        "`messages[0]`: `content`: expected text, found null",
    ),
    (
        r#"{"messages": [{"role": "user", "content": 5}]}"#,
        "`messages[0]`: `content`: expected text, found a number",
    ),
    (
        r#"{"messages": [{"role": "user", "content": [["a"]]}]}"#,
        "`messages[0]`: `content[0]`: expected `{\"type\": \"text\", \"text\": ..}`",
    ),
    (
        r#"{"messages": [{"role": "user", "content": ["x"]}]}"#,
        "`messages[0]`: `content[0]`: expected `{\"type\": \"text\", \"text\": ..}`",
    ),
    (
        r#"{"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}"#,
        "`messages[0]`: `content[0]`: only parts of type `text` can be trained on, found `image`",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": " \n"}]}"#,
        "`messages[0]`: empty assistant turn",
    ),
    (
        r#"{"messages": [{"role": "assistant"}]}"#,
        "`messages[0]`: empty assistant turn",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": "", "tool_calls": []}]}"#,
        "`messages[0]`: empty assistant turn",
    ),
    (
        r#"{"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "q"}]}"#,
        "two `system` turns, the first and the second of them turns 1 and 2 of the conversation",
    ),
    (
        r#"{"system": "a", "messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "q"}]}"#,
        "two `system` turns, the first and the second of them turns 1 and 2 of the conversation",
    ),
    (
        r#"{"messages": [{"role": "user", "content": "q", "name": 1}]}"#,
        "`messages[0]`: `name`: expected a string, found a number",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": "a", "reasoning_content": ["r"]}]}"#,
        "`messages[0]`: `reasoning_content`: expected a string, found a list",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": "a", "train": "no"}]}"#,
        "`messages[0]`: `train`: expected true or false, found a string",
    ),
    (
        r#"{"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}"#,
        "`messages[0]`: `weight`: a turn's is 0 or 1, found 0.5",
    ),
    (
        r#"{"messages": [{"role": "assistant", "tool_calls": {"name": "f"}}]}"#,
        "`messages[0]`: `tool_calls`: expected a list, found an object",
    ),
    (
        r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": "f"}]}]}"#,
        "`messages[0]`: `tool_calls[0]`: expected an object with the `name` of a function",
    ),
    (
        r#"{"messages": [{"role": "assistant", "function_call": "f"}]}"#,
        "`messages[0]`: `function_call`: expected an object, found a string",
    ),
    (
        r#"{"messages": [{"role": "user", "content": "q"}], "tools": "f"}"#,
        "`tools`: expected a list, found a string",
    ),
    // ShareGPT.
    (
        r#"{"conversations": "hi"}"#,
        "`conversations`: expected a list of messages, found a string",
    ),
    (
        r#"{"conversations": [{"from": "alien", "value": "q"}]}"#,
        "`conversations[0]`: unknown speaker `alien`, expected one of `human`, `user`, `gpt`",
    ),
    (
        r#"{"conversations": [{"from": "human"}]}"#,
        "`conversations[0]`: missing key `value`",
    ),
    (
        r#"{"conversations": [{"from": 1, "value": "q"}]}"#,
        "`conversations[0]`: `from`: expected a string, found a number",
    ),
    (
        r#"{"conversations": [{"from": "function_call", "value": "f(x)"}]}"#,
        "`conversations[0]`: `value`: a function call is a JSON object with `name` and `arguments`, or a list of them; \
         this is no JSON",
    ),
    // Fields of every format.
    (
        r#"{"text": "a", "weight": -1}"#,
        "`weight`: expected a finite number of at least 0, found `-1`",
    ),
    (
        r#"{"text": "a", "weight": "1"}"#,
        "`weight`: expected a number, found a string",
    ),
    (
        r#"{"text": "a", "id": {}}"#,
        "`id`: expected a string or a number, found an object",
    ),
    (
        r#"{"text": "a", "answer": [1]}"#,
        "`answer`: expected a string or a number, found a list",
    ),
];
