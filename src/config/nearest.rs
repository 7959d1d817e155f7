//! The known name that is nearest to an unknown one, for "did you mean".

/// The name of `known` that `found` is most likely a misspelling of: at most a third of its characters, and at least one,
/// are wrong, missing, superfluous or swapped with their neighbour. Letter case counts as nothing.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase();
    let allowed = |name: &str| (name.chars().count().max(found.chars().count()) / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(&found, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed(name))
        .min()
        .map(|(_, name)| name)
}

/// Optimal string alignment distance: insertions, deletions, substitutions, and swaps of neighbours that are not edited again.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let table = [
            ("", "", 0),
            ("a", "", 1),
            ("slde", "slide", 1),
            ("silde", "slide", 1),
            ("gap", "map", 1),
            ("kitten", "sitting", 3),
        ];
        for (a, b, expected) in table {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn nearest_names() {
        let known = ["slide", "size", "kind", "gap", "allowed_lateness"];
        let table = [
            ("slde", Some("slide")),
            ("Slide", Some("slide")),
            ("sizes", Some("size")),
            ("lateness", None),
            ("allowed_latenes", Some("allowed_lateness")),
            ("allowedLateness", Some("allowed_lateness")),
            ("xyz", None),
            ("", None),
        ];
        for (found, expected) in table {
            assert_eq!(nearest(found, known), expected, "{found}");
        }
    }
}
