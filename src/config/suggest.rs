//! "Did you mean": the nearest of the words that would have been right.
//!
//! Invariant: only a word that is near is offered; a wrong guess is worse than the list.

/// Words of other programs, and ours.
const ALIASES: &[(&str, &str)] = &[
    ("address", "listen"),
    ("bind", "listen"),
    ("port", "listen"),
    ("target", "label"),
    ("sample_weight", "weight"),
    ("lr", "learning_rate"),
    ("rate", "learning_rate"),
    ("bits", "hash_bits"),
    ("ignore", "exclude"),
    ("threshold", "level"),
    ("directory", "dir"),
    ("path", "paths"),
    ("file", "path"),
    ("filename", "path"),
    ("kind", "type"),
    ("separator", "delimiter"),
    ("classification", "binary"),
    ("csv.gz", "csv"),
    ("ndjson", "json"),
    ("jsonl", "json"),
];

/// The optimal string alignment distance: insertions, deletions, replacements and swaps of
/// neighbours (Damerau 1964; the restricted form).
pub fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row[j] = best;
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The nearest candidate, where one is near enough; the first of equally near ones.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name may be as long as a file; nothing that long is a typing mistake.
    if word.len() > 64 {
        return None;
    }
    let folded = fold(word);
    let limit = (folded.chars().count() / 3).clamp(1, 3);
    let alias = ALIASES.iter().find(|(from, _)| *from == folded);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let mut far = distance(&folded, &fold(candidate));
        if alias.is_some_and(|(_, to)| *to == candidate) {
            far = far.min(1);
        }
        // Of a word of one or two letters nothing would be left.
        let near = far <= limit && far < folded.chars().count().max(1);
        if near && candidate != word && best.is_none_or(|(so_far, _)| far < so_far) {
            best = Some((far, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Case and the choice of `-` or `_` are no difference in kind.
pub fn fold(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// The help for a word that is none of the candidates: the nearest, or all.
pub fn did_you_mean<'a>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if candidates.is_empty() => format!("there are no {what}"),
        None => format!("{what}: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_mistakes_people_make() {
        assert_eq!(distance("hash_bits", "hash_bits"), 0);
        assert_eq!(distance("hsah_bits", "hash_bits"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("ca", "abc"), 3);
    }

    #[test]
    fn offers_what_is_near_and_nothing_else() {
        let keys = ["hash_bits", "label", "learner", "level", "m"];
        assert_eq!(nearest("hash_bit", keys), Some("hash_bits"));
        assert_eq!(nearest("Hash-Bits", keys), Some("hash_bits"));
        assert_eq!(nearest("lable", keys), Some("label"));
        assert_eq!(nearest("target", keys), Some("label"));
        assert_eq!(nearest("n", keys), None);
        assert_eq!(nearest("temperature", keys), None);
        assert_eq!(nearest(&"a".repeat(1 << 20), keys), None);
    }
}
