/// Aligned columns. Where the terminal is too narrow, the least important columns are left out, then cells are cut.
struct Table {
    struct Column {
        var title: String
        var alignRight = false
        /// Columns with the highest number go first; 0 stays.
        var dropOrder = 0
    }
    struct Cell: ExpressibleByStringLiteral {
        var text: String
        var colour: Colour?
        init(_ text: String, _ colour: Colour? = nil) {
            self.text = Text.oneLine(text)
            self.colour = colour
        }
        init(stringLiteral value: String) { self.init(value) }
    }

    var columns: [Column]
    var rows: [[Cell]] = []

    /// Lines, each with its line end; empty without rows.
    func rendered(for terminal: Terminal) -> String {
        guard !rows.isEmpty else { return "" }
        var shown = Array(columns.indices)
        var widths = columns.indices.map { index in
            ([columns[index].title] + rows.map { $0[index].text }).map(Text.width).max()!
        }
        if let width = terminal.width {
            func total() -> Int { shown.reduce(2 * (shown.count - 1)) { $0 + widths[$1] } }
            while total() > width,
                let victim = shown.filter({ columns[$0].dropOrder > 0 }).max(by: {
                    columns[$0].dropOrder < columns[$1].dropOrder
                })
            {
                shown.removeAll { $0 == victim }
            }
            // What is left is needed: the widest column gives way, but stays readable.
            while total() > width, let widest = shown.max(by: { widths[$0] < widths[$1] }), widths[widest] > 8 {
                widths[widest] = max(8, widths[widest] - (total() - width))
            }
        }
        func line(_ cells: [Cell], heading: Bool) -> String {
            let texts = shown.map { index in
                let text = Text.padded(
                    Text.cut(cells[index].text, to: widths[index]), to: widths[index],
                    alignRight: columns[index].alignRight)
                // Spaces at the end of a line are only in the way of whoever copies it.
                let end = index == shown.last && !columns[index].alignRight
                return terminal.paint(end ? trimmed(text) : text, heading ? .faint : cells[index].colour)
            }
            return trimmed(texts.joined(separator: "  ")) + "\n"
        }
        return line(columns.map { Cell($0.title) }, heading: true) + rows.map { line($0, heading: false) }.joined()
    }

    private func trimmed(_ text: String) -> String {
        text.last == " " ? String(text[...(text.lastIndex { $0 != " " } ?? text.startIndex)]) : text
    }
}

/// φ as people see it: `0.2 / 8.0 ▏`, the bar full at the threshold.
enum Suspicion {
    static let cells = 8

    static func bar(_ phi: Double, of threshold: Double, unicode: Bool) -> String {
        let share = phi.isNaN || threshold <= 0 ? 0 : min(1, max(0, phi / threshold))
        if !unicode {
            let full = Int((share * Double(cells)).rounded())
            return String(repeating: "#", count: full) + String(repeating: ".", count: cells - full)
        }
        // U+2588 is a full block, U+258F an eighth of one.
        let eighths = Int((share * Double(cells) * 8).rounded())
        let blocks = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
        let text = String(repeating: "█", count: eighths / 8) + blocks[eighths % 8]
        return text + String(repeating: "·", count: cells - text.count)
    }
}
