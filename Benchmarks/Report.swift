/// One line of the table.
struct Figure {
    var what: String
    var peer: String
    var bramble: String
    /// The peer's figure over ours, where both are numbers and smaller is better.
    var ratio: Double?
    var target: String
    var isMet: Bool

    init(_ what: String, peer: String = "", bramble: String, ratio: Double? = nil, target: String, isMet: Bool) {
        (self.what, self.peer, self.bramble) = (what, peer, bramble)
        (self.ratio, self.target, self.isMet) = (ratio, target, isMet)
    }
    /// `unit` turns a number into text.
    init(
        _ what: String, peer: Double?, bramble: Double?, target: String, limit: Double, unit: (Double?) -> String
    ) {
        let ratio: Double? = if let peer, let bramble, bramble > 0 { peer / bramble } else { nil }
        self.init(
            what, peer: unit(peer), bramble: unit(bramble), ratio: ratio, target: target,
            isMet: bramble.map { $0 <= limit } ?? false)
    }
    var line: String {
        let factor = ratio.map { "\(decimal($0, 1))×" } ?? ""
        return "| \(what) | \(peer) | \(bramble) | \(factor) | \(target) | \(isMet ? "yes" : "**no**") |"
    }
}

struct Report {
    var figures: [Figure] = []
    var notes: [String] = []
    var machine: String
    /// What else the machine was doing: figures of a busy one are worse on both sides.
    var load: String
    var date: String
    var revision: String
    var command: String
    var minutes: Double

    var table: String {
        (["| what | serf | Bramble | ratio | target | met |", "| --- | --- | --- | --- | --- | --- |"]
            + figures.map(\.line)).joined(separator: "\n")
    }
    var markdown: String {
        """
        # Benchmarks

        Measured by `\(command)`, which also wrote this page; it runs in \(decimal(minutes, 0)) minutes. Both sides run on the same hosts of the
        lab (network namespaces on one bridge), in the same run; compare ratios of one run rather than figures of two.

        - machine: \(machine)
        - load average of the machine when it began: \(load)
        - date: \(date), revision \(revision)

        \(table)

        The ratio is serf's figure over Bramble's: above 1, Bramble needs less.

        \(notes.map { "- \($0)" }.joined(separator: "\n"))

        """
    }
}
