package import Primitives

/// What `bramble start` was told: by flags, or by the keys of the same names in the configuration file.
///
/// All values are checked. What nobody said is nil, so that one source can fill in what another left open.
package struct StartOptions: Equatable, Sendable {
    package enum Profile: String, CaseIterable, Sendable { case fast, calm }
    package enum HostsFile: Equatable, Sendable {
        case path(String)
        /// `none`: leave the machine's host names alone.
        case untouched
    }

    package var dataDirectory: String?
    /// Where the configuration is; only a flag can say so.
    package var configFile: String?
    package var name: NodeName?
    package var addresses: [IPAddress]?
    /// UDP for gossip and TCP for streams.
    package var port: UInt16?
    /// Where the dashboard and the HTTP API listen.
    package var http: Endpoint?
    /// Nodes to ask first; empty when none were named.
    package var join: [HostAndPort] = []
    /// False: neither announce this node by multicast DNS nor look for others.
    package var discovery: Bool?
    package var socket: String?
    package var profile: Profile?
    package var hostsFile: HostsFile?

    package init() {}

    /// Takes from `other` what is not said here.
    package func filled(from other: StartOptions) -> StartOptions {
        var result = self
        result.dataDirectory = dataDirectory ?? other.dataDirectory
        result.configFile = configFile ?? other.configFile
        result.name = name ?? other.name
        result.addresses = addresses ?? other.addresses
        result.port = port ?? other.port
        result.http = http ?? other.http
        result.join = join.isEmpty ? other.join : join
        result.discovery = discovery ?? other.discovery
        result.socket = socket ?? other.socket
        result.profile = profile ?? other.profile
        result.hostsFile = hostsFile ?? other.hostsFile
        return result
    }
}

/// The flags of `bramble start`. A key of the configuration file is the flag's name without dashes.
enum StartFlags {
    static let dataDirectory = Option(
        "data-dir", .directory, "Where this node keeps its keys and what it knows; default /var/lib/bramble")
    static let config = Option(
        "config", .file, "The configuration file; default /etc/bramble/bramble.yaml, where it exists")
    static let name = Option("name", .name, "This node's name; default is the machine's host name")
    static let address = Option(
        "address", .addresses, "Where other nodes reach this one; default are the machine's own addresses")
    static let port = Option("port", .port, "UDP port for gossip and TCP port for streams; default 7771")
    static let http = Option(
        "http", .listen, "Where the dashboard and the HTTP API listen; default 0.0.0.0:8080")
    static let join = Option(
        "join", .host, repeats: true, "A node of the cluster to ask first; may be given several times")
    static let noDiscovery = Flag("no-discovery", "Neither announce this node by multicast DNS nor look for others")
    static let socket = Option(
        "socket", .socket, "The socket for this command line; default /run/bramble/bramble.sock")
    static let profile = Option<StartOptions.Profile>(
        "profile", .choice(), "How fast a silence counts: fast for cables, calm for Wi-Fi and busy SD cards")
    static let hostsFile = Option(
        "hosts-file", .hostsFile, "The file that gets the members' names, or none; default /etc/hosts")

    static let all: [any Parameter] = [
        dataDirectory, config, name, address, port, http, join, noDiscovery, socket, profile, hostsFile,
    ]

    static func options(_ input: Input) -> StartOptions {
        var options = StartOptions()
        options.dataDirectory = input[dataDirectory]
        options.configFile = input[config]
        options.name = input[name]
        options.addresses = input[address]
        options.port = input[port]
        options.http = input[http]
        options.join = input[all: join]
        options.discovery = input[noDiscovery] ? false : nil
        options.socket = input[socket]
        options.profile = input[profile]
        options.hostsFile = input[hostsFile]
        return options
    }
}

extension Kind<StartOptions.HostsFile> {
    static let hostsFile = Kind(placeholder: "PATH|none", allowed: "an absolute path, or none", completion: .files) {
        if $0 == "none" { return .untouched }
        return $0.hasPrefix("/") && $0.utf8.count <= 4095 && !$0.utf8.contains(0) ? .path($0) : nil
    }
}

extension StartOptions {
    /// Reads keys and values of a configuration file by the rules of the flags: `port`, `data-dir`, `discovery`...
    ///
    /// A list gives a key several values. `discovery: false` is how a file says --no-discovery. Keys that are no flag
    /// are none of our business: `isKey` tells.
    package init(file: String, _ pairs: [(key: String, values: [String])]) throws(UsageError) {
        self.init()
        var input = Input()
        for (key, values) in pairs {
            func refuse(_ value: String, _ allowed: String) -> UsageError {
                UsageError(
                    problem: "\(file): \(key) is “\(Text.oneLine(value))”; allowed is \(allowed)",
                    remedy: "correct it, and start again; what each key means: bramble help start")
            }
            if key == "discovery" {
                guard values == ["true"] || values == ["false"] else {
                    throw refuse(values.joined(separator: ", "), "true or false")
                }
                discovery = values == ["true"]
                continue
            }
            guard Self.isKey(key), let spec = StartFlags.all.map(\.spec).first(where: { $0.name == key }) else {
                let near = Suggestion.nearest(to: key, among: Self.keys)
                throw UsageError(
                    problem: "\(file): there is no key “\(Text.oneLine(key))”",
                    remedy: near.map { "did you mean \($0)" } ?? "the keys are: \(Self.keys.joined(separator: ", "))")
            }
            // A list of addresses is written as a list in a file, and with commas on the command line.
            let texts = key == StartFlags.address.spec.name ? [values.joined(separator: ",")] : values
            for text in texts where !spec.accepts(text) { throw refuse(text, spec.allowed) }
            guard texts.count == 1 || spec.isRepeatable else {
                throw refuse(values.joined(separator: ", "), "one value: \(spec.allowed)")
            }
            input.values[key] = texts
        }
        let discovery = discovery
        self = StartFlags.options(input)
        self.discovery = discovery
    }

    /// Keys of a configuration file that `init(file:)` reads.
    package static let keys =
        StartFlags.all.map(\.spec.name).filter { !["config", "no-discovery"].contains($0) } + ["discovery"]
    package static func isKey(_ key: String) -> Bool { keys.contains(key) }
}
