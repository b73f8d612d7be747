import Foundation
import Testing

@Suite("what the project's front pages promise is there")
struct DocumentTests {
    private static let root = String(#filePath.dropLast("Tests/ArchitectureTests/DocumentTests.swift".count))
    private static func read(_ path: String) throws -> String {
        try String(contentsOfFile: root + path, encoding: .utf8)
    }

    @Test(
        "each word of the Makefile does something and is listed by make",
        arguments: [
            "build", "test", "check", "sim", "soak", "fuzz", "golden", "bench", "demo", "docs", "fmt", "deb",
        ])
    func word(_ word: String) throws {
        let lines = try Self.read("Makefile").split(separator: "\n", omittingEmptySubsequences: false)
        let rule = try #require(lines.firstIndex { $0.hasPrefix("\(word):") }, "make \(word) would do nothing")
        #expect(lines[rule].contains("## "), "make lists only what has a sentence")
        let needs = lines[rule].prefix { $0 != "#" }.dropFirst(word.count + 1).contains { $0 != " " }
        #expect(needs || lines[rule + 1].hasPrefix("\t"), "make \(word) would do nothing")
    }

    @Test("the gate runs the command that README names")
    func gate() throws {
        #expect(try Self.read(".ci/run").contains("\nmake test\n"))
        #expect(
            try Self.read("README.md").contains("    make demo ") && Self.read("README.md").contains("    make test "))
    }

    @Test("packages that are missing are named before they are installed, those of other purposes are not")
    func packages() throws {
        let folder = FileManager.default.temporaryDirectory.path + "/setup-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        // Nothing is installed but “there”; what installs only notes what it was told, after what was said.
        for (name, text) in [
            ("dpkg-query", #"[ "$3" = there ] && printf "install ok installed""#),
            ("apt-get", #"echo "$*" >&2"#), ("sudo", #"exec "$@""#),
        ] {
            try "#!/bin/sh\n\(text)\n".write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(folder)/\(name)")
        }
        try "# a list\nthere build # why\nmissing build\nother test\n".write(
            toFile: "\(folder)/list", atomically: true, encoding: .utf8)
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = [Self.root + "deploy/setup.sh", "\(folder)/list", "build"]
        process.environment = ["PATH": "\(folder):/usr/bin:/bin"]
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(
            said == """
                These Debian packages are missing and will be installed: missing
                update -qq
                install -y -qq --no-install-recommends missing

                """)
    }

    static let pages: [String] = {
        let all = FileManager.default.enumerator(atPath: root + "docs")?.compactMap { $0 as? String } ?? []
        return ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
            + all.filter { $0.hasSuffix(".md") }.sorted().map { "docs/\($0)" }
    }()

    @Test("each link from a document to a file leads somewhere", arguments: pages)
    func links(page: String) throws {
        let folder = Self.root + page.split(separator: "/").dropLast().map { "\($0)/" }.joined()
        for match in try Self.read(page).matches(of: /\]\(([^)#\s]+)(#[^)\s]*)?\)/) where !match.1.contains("://") {
            #expect(FileManager.default.fileExists(atPath: folder + match.1), "\(page): \(match.1)")
        }
        #expect(Self.pages.count > 30)
    }
}
