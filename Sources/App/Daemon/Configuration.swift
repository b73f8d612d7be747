package import Primitives
import Web

/// How a node runs: each key is a flag of `bramble start` and a key of the configuration file, by the same name.
///
/// All optional: a flag wins over the file, the file over the default. `resolved` fills the rest.
package struct Settings: Equatable, Sendable {
    package enum Admission: String, CaseIterable, Sendable { case key, approve }
    package enum Profile: String, CaseIterable, Sendable { case fast, calm }
    package enum TLS: Equatable, Sendable {
        case off
        /// A certificate of the node's own, made at first use.
        case own
        case files(certificate: String, key: String)
    }
    package enum Discovery: Equatable, Sendable { case on, off }

    package var dataDirectory: String?
    package var name: NodeName?
    /// Addresses to bind and to tell the others; none: all of the machine.
    package var addresses: [IPAddress]?
    package var port: UInt16?
    package var http: [Endpoint]?
    package var join: [String]?
    package var discovery: Discovery?
    package var socket: String?
    package var profile: Profile?
    /// A path, or `none`.
    package var hostsFile: String?
    package var admission: Admission?
    /// Hosts that normally answer; they decide who is isolated.
    package var reach: [IPAddress]?
    package var tls: TLS?
    /// A path, or `none`.
    package var watchdog: String?

    package init() {}

    /// These settings, and where they say nothing, the others.
    package func over(_ base: Settings) -> Settings {
        var merged = self
        merged.dataDirectory = dataDirectory ?? base.dataDirectory
        merged.name = name ?? base.name
        merged.addresses = addresses ?? base.addresses
        merged.port = port ?? base.port
        merged.http = http ?? base.http
        merged.join = join ?? base.join
        merged.discovery = discovery ?? base.discovery
        merged.socket = socket ?? base.socket
        merged.profile = profile ?? base.profile
        merged.hostsFile = hostsFile ?? base.hostsFile
        merged.admission = admission ?? base.admission
        merged.reach = reach ?? base.reach
        merged.tls = tls ?? base.tls
        merged.watchdog = watchdog ?? base.watchdog
        return merged
    }
}

/// The settings a daemon runs with: nothing left open.
struct Configuration: Equatable, Sendable {
    static let defaultDataDirectory = "/var/lib/bramble"
    static let defaultSocket = "/run/bramble/bramble.sock"
    static let defaultHostsFile = "/etc/hosts"
    static let defaultPort: UInt16 = 7771
    static let defaultHTTPPort: UInt16 = 8080

    var dataDirectory: String
    var name: NodeName
    var addresses: [IPAddress]
    var port: UInt16
    /// Nil: every address of the machine, version 4 and 6, at the default port.
    var http: [Endpoint]
    var join: [String]
    var discovers: Bool
    var socket: String
    var profile: Settings.Profile
    var hostsFile: String?
    var needsApproval: Bool
    var reach: [IPAddress]
    var tls: Settings.TLS
    /// The device that resets the machine where a service cannot be ended; nil, the default, for none.
    var watchdog: String?

    /// `hostName` is the machine's own; where it is no node name (`localhost`, an underscore), a name is made of the code.
    /// `0.0.0.0` means every address, version 6 too.
    var webAddresses: [WebAddress] {
        http.map { $0.address == .v4(0) ? .everywhere(port: $0.port) : .tcp($0) } + [.unix(path: socket)]
    }

    init(_ settings: Settings, hostName: String, code: String) {
        dataDirectory = settings.dataDirectory ?? Self.defaultDataDirectory
        let ownName = NodeName(hostName.prefix { $0 != "." }).flatMap { $0.description == "localhost" ? nil : $0 }
        name = settings.name ?? ownName ?? NodeName("node-" + code.prefix(4))!
        addresses = settings.addresses ?? []
        port = settings.port ?? Self.defaultPort
        http = settings.http ?? [Endpoint(.v4(0), port: Self.defaultHTTPPort)]
        join = settings.join ?? []
        discovers = settings.discovery != .off
        socket = settings.socket ?? Self.defaultSocket
        profile = settings.profile ?? .fast
        hostsFile = settings.hostsFile == "none" ? nil : settings.hostsFile ?? Self.defaultHostsFile
        needsApproval = settings.admission == .approve
        reach = settings.reach ?? []
        tls = settings.tls ?? .off
        watchdog = settings.watchdog == "none" ? nil : settings.watchdog
    }
}
