package import Primitives
package import Services

/// A file of an old setup, as it was found.
package struct OldFile: Equatable, Sendable {
    /// From the folder given on, such as `serv1/S10smbd`; the name alone for a single file.
    package var path: String
    package var text: String
    /// Where a symbolic link leads.
    package var linksTo: String?
    /// False for a link that leads nowhere on this machine.
    package var isThere: Bool
    package init(path: String, text: String, linksTo: String? = nil, isThere: Bool = true) {
        self.path = path
        self.text = text
        self.linksTo = linksTo
        self.isThere = isThere
    }

    /// What editors and package managers leave beside a file, half-written or old.
    var isLeftover: Bool {
        let name = path.split(separator: "/").last ?? ""
        return name.hasSuffix("~") || name.hasPrefix("#")
            || [
                ".bak", ".dpkg-dist", ".dpkg-new", ".dpkg-old", ".dpkg-tmp", ".new", ".old", ".orig", ".rpmnew",
                ".rpmsave",
                ".save", ".swo", ".swp", ".tmp",
            ].contains { name.hasSuffix($0) }
    }
}

/// Which old setups can be read.
package enum OldSetup: String, CaseIterable, Sendable { case clusterd, haresources, keepalived }

/// What became of an old setup: a document for `bramble apply`, and what it does not carry over.
package struct Imported: Equatable, Sendable {
    package struct Item<Value: Equatable & Sendable>: Equatable, Sendable {
        package var value: Value
        /// Written above it.
        package var remarks: [String]
    }
    package var origin: String
    package var reach: [IPAddress] = []
    package var services: [Item<Service>] = []
    package var mirrors: [Item<Mirror>] = []
    package var balancers: [Item<Balancer>] = []
    /// About the whole.
    package var remarks: [String] = []

    init(origin: String) { self.origin = origin }

    package static func read(_ setup: OldSetup, _ files: [OldFile], at place: String) throws(Refusal) -> Imported {
        // Control characters mean nothing in any of these files, and would be refused in names, paths and values.
        let clean = files.map { file in
            var clean = file
            clean.text = file.text.split(separator: "\n", omittingEmptySubsequences: false).map { oneLine(String($0)) }
                .joined(separator: "\n")
            return clean
        }
        let leftovers = clean.filter(\.isLeftover)
        let files = clean.filter { !$0.isLeftover }
        var result: Imported
        switch setup {
        case .clusterd: result = try ClusterdImport.read(files, at: place)
        case .haresources: result = try HaresourcesImport.read(files, at: place)
        case .keepalived: result = try KeepalivedImport.read(files, at: place)
        }
        for file in leftovers {
            result.remarks.append("\(file.path) was not read: an editor or a package left it")
        }
        // A document that apply would refuse says so here already.
        for problem in result.state.problems() {
            let owner = problem.name.map { "\($0): " } ?? ""
            result.remarks.append(
                "apply will refuse this until it is changed: \(owner)\(problem.problem); \(problem.remedy)")
        }
        return result
    }

    package var state: DesiredState {
        var state = DesiredState()
        state.reach = reach
        state.services = services.map(\.value)
        state.mirrors = mirrors.map(\.value)
        state.balancers = balancers.map(\.value)
        return state
    }

    /// Everything that needs a person's eye, in the order of the document.
    package var allRemarks: [String] {
        func named<Value>(_ items: [Item<Value>], _ name: (Value) -> ServiceName) -> [String] {
            items.flatMap { item in item.remarks.map { "\(name(item.value)): \($0)" } }
        }
        return remarks + named(services) { $0.name } + named(mirrors) { $0.name } + named(balancers) { $0.name }
    }

    /// YAML with the remarks as comments where they belong.
    package var text: String {
        var text =
            "# From \(Self.oneLine(origin)), by bramble import. Read it, change it, then: bramble apply -f FILE\n"
        for remark in remarks { text += "# NOTE \(Self.oneLine(remark))\n" }
        if !reach.isEmpty { text += "reach: \(DocumentText.list(reach.map(\.description)))\n" }
        text += part("services", services) { DocumentText.lines($0) }
        text += part("mirrors", mirrors) { DocumentText.lines($0) }
        text += part("balancers", balancers) { DocumentText.lines($0) }
        return text
    }

    private func part<Value>(_ key: String, _ items: [Item<Value>], _ lines: (Value) -> [String]) -> String {
        guard !items.isEmpty else { return "" }
        var text = "\(key):\n"
        for item in items {
            for remark in item.remarks { text += "  # NOTE \(Self.oneLine(remark))\n" }
            for (index, line) in lines(item.value).enumerated() { text += "  \(index == 0 ? "- " : "  ")\(line)\n" }
        }
        return text
    }

    /// What was read may hold anything; a comment ends with its line.
    static func oneLine(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { scalar in
                    let isBreak =
                        scalar.value < 32 || (127...159).contains(scalar.value)
                        || [0x2028, 0x2029].contains(scalar.value)
                    return isBreak ? " " : scalar
                }))
    }
}

extension Array where Element == OldFile {
    /// By the last part of its path.
    func named(_ name: String) -> OldFile? { first { $0.path.split(separator: "/").last.map { String($0) } == name } }
}

/// Words of old files.
enum OldText {
    /// Lines without comments and blanks at their ends, those that end in a backslash joined; with their numbers.
    static func lines(_ text: String) -> [(number: Int, text: String)] {
        var result: [(number: Int, text: String)] = []
        var pending = ""
        var start = 0
        for (index, raw) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            var line = String(raw.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).first ?? "")
            line = trim(line)
            if pending.isEmpty { start = index + 1 }
            if line.hasSuffix("\\") {
                pending += line.dropLast() + " "
                continue
            }
            let whole = trim(pending + line)
            pending = ""
            if !whole.isEmpty { result.append((start, whole)) }
        }
        let rest = trim(pending)
        if !rest.isEmpty { result.append((start, rest)) }
        return result
    }
    static func trim(_ text: some StringProtocol) -> String {
        let blanks: Set<Character> = [" ", "\t", "\r"]
        var slice = Substring(text)
        while let first = slice.first, blanks.contains(first) { slice = slice.dropFirst() }
        while let last = slice.last, blanks.contains(last) { slice = slice.dropLast() }
        return String(slice)
    }
    static func words(_ text: some StringProtocol) -> [String] {
        text.split { $0 == " " || $0 == "\t" }.map { String($0) }
    }
    /// The nearest name that is allowed.
    static func name(_ text: some StringProtocol, else fallback: String) -> ServiceName {
        var cleaned = String(
            text.map { character in
                let isAllowed =
                    character.isASCII && (character.isLetter || character.isNumber || "-._".contains(character))
                return isAllowed ? character : "-"
            }.prefix(48))
        while cleaned.hasPrefix("-") || cleaned.hasPrefix(".") { cleaned.removeFirst() }
        return ServiceName(cleaned) ?? ServiceName(fallback)!
    }
}
