import BrambleAPI
import FoundationEssentials
import Importers
import Primitives

/// `bramble apply`, `export`, `plan`, `import`: what should be, as a document.
enum DesiredCommands {
    private static let file = Option(
        "file", short: "f", .file, "The document; - reads standard input")
    private static let prune = Flag("prune", "Also remove what the document's parts do not name")

    static let apply = Command(
        asking: "apply", "Make a document so: services, mirrors, volumes, balancers",
        details: """
            The document is YAML, as bramble export prints it. What it names is added, or takes the place of what had \
            that name; everything else stays, unless --prune is given. Where something is wrong, nothing is changed.
            """,
        section: .change, accepts: [file, prune, Shared.json], examples: ["bramble apply -f services.yaml"]
    ) { input, console, api in
        let request = try request(input, dryRun: false, command: "apply")
        let answer = try await api.apply(request)
        if input[Shared.json] { return try console.printJSON(answer) }
        show(answer, console, nothing: "Everything is so already.")
    }

    static let plan = Command(
        asking: "plan", "Show what a document would change, and change nothing",
        details: "Without -f: where each service runs, or would be started, and why.", section: .look,
        accepts: [file, prune, Shared.json], examples: ["bramble plan -f services.yaml"]
    ) { input, console, api in
        guard input[file] != nil else { return try await showPlaces(input, console, api) }
        let request = try request(input, dryRun: true, command: "plan")
        let answer = try await api.apply(request)
        if input[Shared.json] { return try console.printJSON(answer) }
        show(answer, console, nothing: "Nothing would change.")
    }

    /// Where each service is, or would be started, and why.
    private static func showPlaces(_ input: Input, _ console: Console, _ api: BrambleClient) async throws {
        let services = try await api.services()
        if input[Shared.json] { return try console.printJSON(services) }
        guard !services.isEmpty else { return console.say("Nothing is to run: no services yet.") }
        for service in services {
            let why = try await api.why(service.name)
            console.print(Text.oneLine(why.answer))
            for reason in why.because where reason.text.hasPrefix("it would be run by") {
                console.print("    " + Text.oneLine(reason.text))
            }
        }
    }

    static let export = Command(
        asking: "export", "Print everything that was applied, as a document", section: .look,
        accepts: [Shared.json], examples: ["bramble export > services.yaml"]
    ) { input, console, api in
        let answer = try await api.export()
        if input[Shared.json] { return try console.printJSON(answer) }
        for sentence in answer.unreadable { console.note("left out, it cannot be read: \(sentence)") }
        console.terminal.write(answer.document)
    }

    private static let setup = Argument(
        "SETUP",
        Kind<OldSetup>(
            placeholder: "SETUP", allowed: OldSetup.allCases.map(\.rawValue).joined(separator: ", "),
            completion: .words(OldSetup.allCases.map(\.rawValue))
        ) { OldSetup(rawValue: $0) }, "clusterd, haresources (Linux-HA heartbeat) or keepalived")
    private static let place = Argument(
        "PATH", .file, "Its configuration: a file or a folder")

    static let importing = Command(
        "import", "Print the document that an old setup becomes",
        details: """
            Reads the configuration of clusterd (/etc/cluster.d), heartbeat (/etc/ha.d) or keepalived. What cannot be \
            carried over is said in comments and on standard error. Nothing is changed: read it, then bramble apply.
            """,
        section: .setUp, accepts: [setup, place],
        examples: ["bramble import keepalived /etc/keepalived/keepalived.conf > services.yaml"]
    ) { input, console in
        let place = input[required: place]
        // Its scripts are named by their whole path.
        let imported = try Imported.read(
            input[required: setup], try OldFiles.read(place), at: FileReader.wholePath(of: place))
        console.terminal.write(imported.text)
        for remark in imported.allRemarks { console.note(remark) }
    }

    private static func request(_ input: Input, dryRun: Bool, command: String) throws -> ApplyRequest {
        guard let path = input[file] else {
            throw UsageError(
                problem: "“\(command)” needs -f FILE", remedy: "for example: bramble \(command) -f services.yaml")
        }
        let bytes = try OldFiles.contents(path == "-" ? "/dev/stdin" : path)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CommandFailure(problem: "\(path) is not UTF-8 text", remedy: "save it as UTF-8")
        }
        let name = path == "-" ? "standard input" : String(path.split(separator: "/").last ?? "document")
        return ApplyRequest(document: text, name: name, prune: input[prune] ? true : nil, dryRun: dryRun ? true : nil)
    }

    static func show(_ answer: ApplyAnswer, _ console: Console, nothing: String) {
        if answer.changes.isEmpty { console.say(nothing) }
        for change in answer.changes {
            let sign: String
            let colour: Colour
            switch change.change {
            case .added: (sign, colour) = ("+", .green)
            case .changed: (sign, colour) = ("~", .yellow)
            case .removed: (sign, colour) = ("-", .red)
            }
            let title = change.part == change.name ? change.part : "\(change.part) \(change.name)"
            console.print(console.terminal.paint("\(sign) \(Text.oneLine(title))", colour))
            for detail in change.details { console.print("    \(Text.oneLine(detail))") }
        }
        for note in answer.notes { console.say("Note: " + Text.oneLine(note)) }
    }
}

/// Files of this machine that commands read.
enum OldFiles {
    /// 256 KiB each and 1,000 of them: more than any old setup has.
    static let mostBytes = 256 << 10
    static let mostFiles = 1000

    static func contents(_ path: String) throws -> [UInt8] {
        guard let handle = FileReader(path) else {
            throw CommandFailure(problem: "\(path) cannot be read", remedy: "check its name and who may read it")
        }
        guard let bytes = handle.read(atMost: mostBytes) else {
            throw CommandFailure(
                problem: "\(path) is longer than \(mostBytes >> 10) KiB", remedy: "give a smaller file")
        }
        return bytes
    }

    /// One file, or all of a folder, two levels deep: what clusterd's nodes have is there.
    static func read(_ place: String) throws -> [OldFile] {
        var isFolder = false
        guard FileReader.exists(place, &isFolder) else {
            throw CommandFailure(problem: "\(place) is not there", remedy: "give the file or folder of the old setup")
        }
        let name = String(place.split(separator: "/").last ?? "")
        guard isFolder else {
            return [OldFile(path: name, text: String(decoding: try contents(place), as: UTF8.self))]
        }
        var files: [OldFile] = []
        for entry in FileReader.names(in: place) {
            let path = "\(place)/\(entry)"
            if leadsToFolder(path) {
                for inner in FileReader.names(in: path) {
                    if let one = try found("\(path)/\(inner)", as: "\(entry)/\(inner)") { files.append(one) }
                }
            } else if let one = try found(path, as: entry) {
                files.append(one)
            }
            guard files.count <= mostFiles else {
                throw CommandFailure(
                    problem: "\(place) has more than \(mostFiles) files", remedy: "name its own folder")
            }
        }
        return files
    }

    private static func leadsToFolder(_ path: String) -> Bool {
        var isFolder = false
        return FileReader.exists(path, &isFolder) && isFolder
    }
    /// Nil for what is neither a file nor a link.
    private static func found(_ path: String, as name: String) throws -> OldFile? {
        var isFolder = false
        if FileReader.exists(path, &isFolder) { return isFolder ? nil : try file(path, as: name) }
        guard let target = FileReader.target(of: path) else { return nil }
        guard !isNeeded(name) else {
            throw CommandFailure(
                problem: "\(path) leads to \(target), which is not there",
                remedy: "import on the machine that has it, or remove the link")
        }
        return OldFile(path: name, text: "", linksTo: target, isThere: false)
    }
    private static func file(_ path: String, as name: String) throws -> OldFile {
        // Nothing of keys is read, nor of programs; they may be for root alone, and long.
        let text = isNeeded(name) ? String(decoding: try contents(path), as: UTF8.self) : ""
        return OldFile(path: name, text: text, linksTo: FileReader.target(of: path))
    }
    /// What an import reads; of all others the name is enough.
    private static func isNeeded(_ path: String) -> Bool {
        let name = (path.split(separator: "/").last ?? "").lowercased()
        return name.hasSuffix(".conf") || name.hasSuffix(".cf") || name == "haresources" || name.contains("reach")
            || name.contains("cron") || path.contains("/F")
    }
}
