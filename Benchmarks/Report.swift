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
        let factor = ratio.map { "\(decimal($0, $0 < 2 ? 2 : 1))×" } ?? ""
        return "| \(what) | \(peer) | \(bramble) | \(factor) | \(target) | \(isMet ? "yes" : "**no**") |"
    }
}

/// One line of the table of databases.
struct DatabaseFigure {
    var what: String
    var etcd: String
    var mnesia: String
    var bramble: String
    var target: String
    var isMet: Bool

    init(_ what: String, etcd: String, mnesia: String, bramble: String, target: String, isMet: Bool) {
        (self.what, self.etcd, self.mnesia, self.bramble) = (what, etcd, mnesia, bramble)
        (self.target, self.isMet) = (target, isMet)
    }
    var line: String {
        let ours = bramble.isEmpty ? "not measured" : bramble
        return "| \(what) | \(etcd) | \(mnesia) | \(ours) | \(target) | \(isMet ? "yes" : "**no**") |"
    }
}

/// A part of the page that is measured, and written, by itself.
struct Section {
    var name: String
    var title: String
    /// The words of `make` that measure it.
    var command: String
    var machine: String
    /// What else the machine was doing: figures of a busy one are worse on all sides.
    var load: String
    var date: String
    var revision: String
    var minutes: Double
    var table: String
    var notes: [String]

    static func membership(_ figures: [Figure]) -> String {
        (["| what | serf | Bramble | ratio | target | met |", "| --- | --- | --- | --- | --- | --- |"]
            + figures.map(\.line)).joined(separator: "\n")
    }
    static func engines(_ figures: [Figure]) -> String {
        (["| what | by hand | Bramble | ratio | target | met |", "| --- | --- | --- | --- | --- | --- |"]
            + figures.map(\.line)).joined(separator: "\n")
    }
    static func database(_ figures: [DatabaseFigure]) -> String {
        (["| what | etcd | Mnesia | Bramble | target | met |", "| --- | --- | --- | --- | --- | --- |"]
            + figures.map(\.line)).joined(separator: "\n")
    }

    static func failover(_ figures: [FailoverFigure]) -> String {
        let heads = ["what"] + FailoverFigure.heads + ["Bramble", "target", "met"]
        return
            (["| \(heads.joined(separator: " | ")) |", "|\(String(repeating: " --- |", count: heads.count))"]
            + figures.map(\.line)).joined(separator: "\n")
    }
    static func mirrors(_ figures: [Figure]) -> String {
        (["| what | rsync over ssh | Bramble | ratio | target | met |", "| --- | --- | --- | --- | --- | --- |"]
            + figures.map(\.line)).joined(separator: "\n")
    }

    var markdown: String {
        """
        \(opening)
        ## \(title)

        `\(command)`, \(decimal(minutes, 0)) minutes, \(date), revision \(revision), on \(machine); load average when it began: \(load).

        \(table)

        \(notes.map { "- \($0)" }.joined(separator: "\n"))
        \(closing)
        """
    }
    private var opening: String { "<!-- \(name): written by make bench -->" }
    private var closing: String { "<!-- end of \(name) -->" }

    /// The page with this section in the place of the one that it had; the others stay as they are.
    func replacing(in page: String) -> String {
        guard let start = page.firstRange(of: opening), let end = page.firstRange(of: closing),
            start.lowerBound < end.lowerBound
        else { return (page.isEmpty ? Self.introduction : page) + "\n" + markdown + "\n" }
        return page[..<start.lowerBound] + markdown + page[end.upperBound...]
    }

    private static let introduction = """
        # Benchmarks

        Measured and written by `make bench`. All contenders run on the same hosts of the lab (network namespaces on one bridge), in the
        same run; compare ratios of one run rather than figures of two.

        """
}
