import Foundation
import Testing

/// The rules of ARCHITECTURE.md that SwiftPM cannot express. What a target may import is written in Package.swift, but the
/// linker would forgive an import of something that is only there by way of another target.
@Suite("the layers stay apart")
struct ArchitectureTests {
    /// Who may import whom. The modules of the system (Glibc, FoundationEssentials, C libraries) stand further down.
    static let imports: [String: Set<String>] = [
        "Primitives": [],
        "Wire": ["Primitives"],
        "Membership": ["Primitives"],
        "Replication": ["Primitives", "Wire"],
        "Leases": ["Primitives", "Wire"],
        "Mirrors": ["Primitives"],
        "Services": ["Primitives"],
        "Node": ["Primitives", "Wire", "Membership", "Leases", "Services"],
        "Logging": [],
        "Reactor": ["Primitives"],
        "Crypto": ["Primitives"],
        "YAML": ["Primitives"],
        "Processes": ["Primitives", "Logging", "Reactor"],
        "Transport": ["Primitives", "Wire", "Logging", "Reactor", "Crypto"],
        "Discovery": ["Primitives", "Logging", "Reactor"],
        "Storage": ["Primitives", "Wire", "Replication", "Logging", "Reactor"],
        "Machine": ["Primitives", "Logging", "Reactor", "Crypto"],
        "XML": [],
        "Runners": ["Primitives", "Services", "Logging", "Reactor", "Processes", "XML"],
        "Balancers": ["Primitives", "Services"],
        "Volumes": ["Primitives", "Wire", "Services"],
        "Engines": [
            "Primitives", "Wire", "Mirrors", "Balancers", "Volumes", "Services", "Logging", "Reactor", "Processes",
            "XML",
        ],
        "Web": ["Primitives", "Logging", "Reactor", "Crypto", "BrambleAPI"],
        "BrambleAPI": ["Primitives"],
        "Daemon": [
            "Primitives", "Wire", "Membership", "Leases", "Node", "Logging", "Reactor", "Crypto", "YAML", "Transport",
            "Discovery", "Machine", "Runners", "Engines", "Mirrors", "Balancers", "Volumes", "Processes", "Web",
            "BrambleAPI",
            "Replication",
            "Storage", "Services",
        ],
        "Importers": ["Primitives", "Services"],
        "Inventory": ["Primitives", "BrambleAPI", "YAML"],
        "Commands": ["Primitives", "BrambleAPI", "Importers", "Inventory"],
        "bramble": ["Commands", "Daemon", "BrambleAPI", "Primitives"],
        "Simulator": ["Primitives", "Wire", "Membership", "Leases", "Node", "Replication", "Storage"],
        "bramble-sim": ["Simulator", "Leases", "Primitives"],
    ]
    static let core: Set<String> = [
        "Primitives", "Wire", "Membership", "Replication", "Leases", "Mirrors", "Services", "Balancers", "Volumes",
        "Node",
    ]
    /// One importer each, so that a library can be changed in one place.
    static let cLibraries: [String: String] = [
        "COpenSSL": "Crypto", "CAvahi": "Discovery", "CMicrohttpd": "Web", "CFyaml": "YAML", "CCurl": "BrambleAPI",
        "CSQLite": "Storage",
    ]

    struct SourceFile: CustomTestStringConvertible {
        let module: String
        let path: String
        let lines: [Substring]
        var testDescription: String { path }

        var imported: [String] {
            lines.compactMap { line in
                let words = line.split(separator: " ").map { String($0) }
                guard let place = words.firstIndex(of: "import"), place <= 2, words.count > place + 1,
                    words[..<place].allSatisfy({ $0.hasPrefix("@") || ["package", "public", "internal"].contains($0) })
                else { return nil }
                return words[place + 1].split(separator: ".").first.map(String.init)
            }
        }
        /// The code without comments and without the text of strings.
        var code: [String] {
            lines.map { line in
                var result = ""
                var isText = false
                for part in line.split(separator: "\"", omittingEmptySubsequences: false) {
                    if !isText {
                        if let comment = part.range(of: "//") { return result + part[..<comment.lowerBound] }
                        result += part
                    }
                    isText.toggle()
                }
                return result
            }
        }
    }

    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static let files: [SourceFile] = {
        let sources = root.appendingPathComponent("Sources")
        let walker = FileManager.default.enumerator(atPath: sources.path)!
        return walker.compactMap { $0 as? String }.filter { $0.hasSuffix(".swift") }.sorted().map { path in
            let parts = path.split(separator: "/").map { String($0) }
            let module = parts[0] == "API" ? "BrambleAPI" : parts[1]
            let text = (try? String(contentsOf: sources.appendingPathComponent(path), encoding: .utf8)) ?? ""
            return SourceFile(
                module: module, path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false))
        }
    }()

    @Test("there are sources to look at, and each belongs to a module of the table")
    func complete() {
        #expect(Self.files.count > 20)
        for file in Self.files {
            #expect(Self.imports[file.module] != nil, "\(file.path): add “\(file.module)” to the import table")
        }
    }

    /// Which of two C modules such a name comes from depends on what else is compiled beside a file: without the import of
    /// its own a file is compiled on some days and not on others.
    @Test("whoever names kinds of sockets or mounts in a module that uses CLinux imports it itself")
    func sharedNames() {
        let users = Set(Self.files.filter { $0.imported.contains("CLinux") }.map(\.module))
        for file in Self.files where users.contains(file.module) && !file.imported.contains("CLinux") {
            let names = ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "SOCK_RAW", "(MS_"]
            #expect(!file.code.contains { line in names.contains { line.contains($0) } }, "\(file.path)")
        }
    }

    @Test("each module imports only what stands under it")
    func importTable() {
        let ours = Set(Self.imports.keys)
        for file in Self.files {
            let allowed = Self.imports[file.module] ?? []
            for name in file.imported where ours.contains(name) && !allowed.contains(name) {
                Issue.record("\(file.path) imports \(name), which \(file.module) may not")
            }
        }
    }

    @Test("each C library has one importer")
    func cLibraries() {
        for file in Self.files {
            for name in file.imported {
                guard let owner = Self.cLibraries[name] else { continue }
                #expect(owner == file.module, "\(file.path) imports \(name), which belongs to \(owner)")
            }
        }
    }

    @Test("nobody imports the whole of Foundation: it costs 45 MB and 10 MiB of memory")
    func noFoundation() {
        for file in Self.files where file.imported.contains("Foundation") {
            Issue.record("\(file.path) imports Foundation: FoundationEssentials has JSON, Data and dates")
        }
    }

    @Test("Core has no clock, no chance of its own, no thread, no socket and no file")
    func coreIsPure() {
        let forbidden = [
            "ContinuousClock", "SuspendingClock", "SystemClock", "SystemRandomNumberGenerator", ".random(",
            ".randomElement(", ".shuffled(", ".shuffle()", "Task {", "Task(", "await ", "async ", "Mutex",
            "DispatchQueue",
            "clock_gettime", "getenv", "FileManager", "print(", "fatalError(",
        ]
        for file in Self.files where Self.core.contains(file.module) {
            for name in file.imported where !Self.core.contains(name) {
                let isMathematics = file.path.hasSuffix("Primitives/Mathematics.swift") && name == "Glibc"
                #expect(isMathematics, "\(file.path) imports \(name): Core only imports Core")
            }
            // The protocol for drivers is declared in Core; nobody there calls it.
            for (number, line) in file.code.enumerated() where !line.contains("func sleep(until deadline: Instant)") {
                for word in forbidden where line.contains(word) {
                    Issue.record("\(file.path):\(number + 1) uses \(word): time and chance come in through the door")
                }
            }
        }
    }

    @Test("only BrambleAPI has public code")
    func onlyTheAPIIsPublic() {
        for file in Self.files where file.module != "BrambleAPI" {
            for (number, line) in file.code.enumerated() where line.contains("public ") {
                Issue.record("\(file.path):\(number + 1) is public; inside the package it is `package`")
            }
        }
    }

    @Test("the rules notice what breaks them")
    func rulesCatch() {
        let text = "package import Glibc\nlet x = Int.random(in: 0..<3) // fine\nlet y = \"Task {\" // Task {"
        let file = SourceFile(module: "Node", path: "x.swift", lines: text.split(separator: "\n"))
        #expect(file.imported == ["Glibc"])
        #expect(file.code[1].contains(".random("))
        #expect(!file.code[2].contains("Task {"))
    }
}
