import FoundationEssentials
import Testing

@testable import Commands

@Suite("what messages and documents tell people to type can be typed")
struct MentionTests {
    private static let root = String(#filePath.dropLast("Tests/CommandsTests/MentionTests.swift".count))

    private static func files(_ folder: String, _ endings: [String]) -> [String] {
        let all = try? FileManager.default.subpathsOfDirectory(atPath: root + folder)
        return (all ?? []).filter { path in endings.contains { path.hasSuffix($0) } }.sorted().map { folder + "/" + $0 }
    }

    static let sources =
        ["README.md", "ARCHITECTURE.md"]
        // What goes over the wire has labels of its own, such as “bramble session”.
        + files("docs", [".md"]).filter { !$0.hasPrefix("docs/protocol/") }
        + files("Sources", [".swift", ".html", ".js"])
        + files("deploy", [".sh", ".yaml", ".service", "postinst", "postrm"])

    @Test("every command named anywhere exists, and its options do", arguments: sources)
    func exists(file: String) throws {
        guard let data = try? Data(contentsOf: URL(filePath: Self.root + file)) else { return }
        let isCode = file.hasSuffix(".swift")
        let text = String(decoding: data, as: UTF8.self).split(separator: "\n")
            // Comments may speak of what does not exist yet.
            .filter { line in !isCode || !line.drop { $0 == " " }.hasPrefix("//") }.joined(separator: "\n")
        // In code quotes, after a colon and the like, or alone on a line; what follows runs up to what ends a phrase.
        for match in text.matches(of: /(?:[:;,] |[`“(]|sudo |first |\n {4,})bramble ([a-z][^`"”’'\n#|;,:)(<>…]*)/) {
            var words = match.1.split(separator: " ").map { String($0) }
            // The end of a sentence is no part of the last word.
            if let last = words.last, last.hasSuffix(".") { words[words.count - 1] = String(last.dropLast()) }
            var command = Bramble.root
            var rest = words[...]
            while let next = rest.first, let child = command.children.first(where: { $0.name == next }) {
                command = child
                rest = rest.dropFirst()
            }
            let isWhole = !command.isGroup
            #expect(isWhole, "\(file): bramble \(match.1)")
            // Behind a lone -- stands what another program is told.
            for word in rest.prefix(while: { $0 != "--" }) where word.hasPrefix("--") {
                let name = word.dropFirst(2).prefix { $0 != "=" }
                let isKnown = command.allOptions.contains { $0.name == name }
                #expect(isKnown, "\(file): bramble \(match.1)")
            }
        }
    }
}
