package import Primitives

/// What the flags of `bramble start` said. All values are checked; what nobody said is nil, so that the configuration
/// file and the defaults can fill it in.
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
}

/// The flags of `bramble start`. The configuration file has the same names as keys.
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

    /// What a witness takes: it has no services, no web server and no socket.
    static let ofWitness: [any Parameter] = [dataDirectory, config, name, address, port, join, noDiscovery, profile]

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
