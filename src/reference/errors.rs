//! The page of errors: the form of an error line, the kinds with their remedies, and the operations.

use actors::operations;
use store_redis::{ANSWERS, Consequence, UNKNOWN};

use super::markdown::{code, head, table};
use crate::remedy;

const SHAPE: &str = "\
An error is one line: operation, object, kind, cause, and after a semicolon the remedy.

```
read the ledger: {P:M}:tracker:sealed: torn: market 0x…: it has 3 entries, and the ledger's sums say 4; restore Redis …
```

In the log, `operation` and `kind` are fields of their own, and the lines of an actor carry its path (`actor{path=…}`).

| field or level | meaning |
|---|---|
| `suppressed` | A subject that repeats is logged once a minute. This many lines about it were suppressed in the minute before. |
| `left_out` | This many lines were left out, and no other line counts them: too many different keys were wrong within a minute, or too many requests were audited. |
| `ERROR` | An operator has to act; waiting does not help. |
| `WARN` | The step is retried, or it continued without the object. |

Text from outside (keys, answers of servers and nodes) is cut at 200 characters, and control characters in it are escaped.
Secrets of the configuration in it are replaced by `***`.
`state_tracker_errors_total` counts the same errors, with the labels `operation` and `kind`.
";

const ANSWERS_HEAD: &str = "\
An error of Redis begins with a word, which decides what the program does, at each step of each pipeline and script. The first row
that fits counts. A lost connection has the consequence `renew`.

";

pub(super) fn page() -> String {
    let kinds = operations::kinds()
        .map(|kind| [code(kind.label), kind.meaning.to_owned(), remedy::of_label(kind).to_owned()]);
    let all = operations::all().map(|operation| [code(operation.label), operation.sentence.to_owned()]);
    let answers = ANSWERS.iter().chain([&UNKNOWN]).map(|answer| {
        let said = format!("{} {}", answer.word, answer.text);
        let said = if *answer == UNKNOWN { answer.word.to_owned() } else { code(said.trim_end()) };
        [said, answer.meaning.to_owned(), code(answer.kind.as_str()), code(answer.consequence.as_str())]
    });
    let consequences = Consequence::ALL.iter().map(|consequence| {
        let row = consequence.row();
        [code(row.label), row.meaning.to_owned()]
    });
    head("Errors", "actors/src/operations.rs and crates/store-redis/src/answers.rs")
        + SHAPE
        + "\n## Kinds\n\n"
        + &table(["`kind`", "meaning", "what to do"], kinds)
        + "\nThe remedy in the log is more exact if the key, the answer of the server or the node is known.\n\n## Answers of Redis\n\n"
        + ANSWERS_HEAD
        + &table(["answer", "when", "`kind`", "consequence"], answers)
        + "\n"
        + &table(["consequence", "what the program does"], consequences)
        + "\n## Operations\n\n"
        + &table(["`operation`", "in the line"], all)
}
