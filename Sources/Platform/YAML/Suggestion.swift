/// Finds the word somebody meant.
enum Suggestion {
    static func closest(to word: String, in candidates: [String]) -> String? {
        candidates.filter { isClose(word, $0) }.min { distance(word, $0) < distance(word, $1) }
    }

    /// At most one slip in three letters.
    static func isClose(_ word: String, _ other: String) -> Bool {
        word.count <= 64 && distance(word, other) <= max(1, min(word.count, other.count) / 3)
    }

    /// Slips between two words: a letter more, less, changed, or two neighbours swapped (optimal string alignment).
    static func distance(_ left: String, _ right: String) -> Int {
        let a = Array(left.lowercased()), b = Array(right.lowercased())
        guard !a.isEmpty, !b.isEmpty else { return max(a.count, b.count) }
        var rows = [[Int]](repeating: [Int](repeating: 0, count: b.count + 1), count: a.count + 1)
        for i in 0...a.count { rows[i][0] = i }
        for j in 0...b.count { rows[0][j] = j }
        for i in 1...a.count {
            for j in 1...b.count {
                let change = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
                rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, change)
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                    rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
                }
            }
        }
        return rows[a.count][b.count]
    }
}
