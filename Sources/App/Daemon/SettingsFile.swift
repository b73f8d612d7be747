import Machine
import Primitives
import YAML

/// The configuration file: `/etc/bramble/bramble.yaml`, every flag of `bramble start` by the same name, and a few more keys.
extension Settings: Decodable {
    private enum Key: String, CodingKey {
        case dataDirectory = "data-dir"
        case name, address, port, http, join
        case noDiscovery = "no-discovery"
        case socket, profile
        case hostsFile = "hosts-file"
        case admit, reach, tls, watchdog
    }

    package init(from decoder: any Decoder) throws {
        self.init()
        let keys = try decoder.container(keyedBy: Key.self)
        func value<Value>(_ key: Key, _ what: String, _ read: (String) -> Value?) throws -> Value? {
            guard let text = try keys.decodeIfPresent(String.self, forKey: key) else { return nil }
            guard let value = read(text) else {
                throw DecodingError.dataCorruptedError(forKey: key, in: keys, debugDescription: "must be \(what)")
            }
            return value
        }
        func list<Value>(_ key: Key, _ what: String, _ read: (String) -> Value?) throws -> [Value]? {
            guard let texts = try keys.decodeIfPresent(OneOrMore.self, forKey: key)?.texts else { return nil }
            return try texts.map { text in
                guard let value = read(text) else {
                    throw DecodingError.dataCorruptedError(
                        forKey: key, in: keys, debugDescription: "“\(text)” is not \(what)")
                }
                return value
            }
        }
        func oneOf<Value: RawRepresentable<String> & CaseIterable>(_ key: Key, _: Value.Type) throws -> Value? {
            try value(key, "one of " + Value.allCases.map(\.rawValue).joined(separator: ", "), Value.init)
        }

        dataDirectory = try value(.dataDirectory, "a path") { $0.isEmpty ? nil : $0 }
        name = try value(.name, NodeName.rule) { NodeName($0) }
        addresses = try list(.address, "an IP address") { IPAddress($0) }
        port = try keys.decodeIfPresent(UInt16.self, forKey: .port)
        if port == 0 {
            throw DecodingError.dataCorruptedError(forKey: .port, in: keys, debugDescription: "must be 1 to 65535")
        }
        http = try list(.http, "an address and port, as in 0.0.0.0:8080") {
            Endpoint($0, defaultPort: Configuration.defaultHTTPPort)
        }
        join = try list(.join, "a host name or address") { $0.isEmpty ? nil : $0 }
        discovery = try keys.decodeIfPresent(Bool.self, forKey: .noDiscovery).map { $0 ? .off : .on }
        socket = try value(.socket, "a path") { $0.isEmpty ? nil : $0 }
        profile = try oneOf(.profile, Profile.self)
        hostsFile = try value(.hostsFile, "a path, or none") { $0.isEmpty ? nil : $0 }
        admission = try oneOf(.admit, Admission.self)
        reach = try list(.reach, "an IP address") { IPAddress($0) }
        tls = try keys.decodeIfPresent(TLS.self, forKey: .tls)
        watchdog = try value(.watchdog, "the path of a device, as in /dev/watchdog, or none") {
            $0 == "none" || $0.hasPrefix("/") ? $0 : nil
        }
    }
}

extension Settings.TLS: Decodable {
    private enum Key: String, CodingKey { case certificate, key }

    package init(from decoder: any Decoder) throws {
        if let text = try? decoder.singleValueContainer().decode(String.self) {
            switch text {
            case "self": self = .own
            case "off": self = .off
            default:
                throw DecodingError.dataCorrupted(
                    .init(
                        codingPath: decoder.codingPath,
                        debugDescription: "must be off, self, or {certificate: FILE, key: FILE}"))
            }
            return
        }
        let keys = try decoder.container(keyedBy: Key.self)
        self = .files(
            certificate: try keys.decode(String.self, forKey: .certificate),
            key: try keys.decode(String.self, forKey: .key))
    }
}

/// `key: a` and `key: [a, b]` alike.
private struct OneOrMore: Decodable {
    let texts: [String]
    init(from decoder: any Decoder) throws {
        if let one = try? decoder.singleValueContainer().decode(String.self) {
            texts = [one]
        } else {
            texts = try decoder.singleValueContainer().decode([String].self)
        }
    }
}

/// Finds and reads the configuration file.
package enum SettingsFile {
    package static let defaultPath = "/etc/bramble/bramble.yaml"
    private static let limit = 256 * 1024

    /// The file is missing, unreadable or wrong: exit code 2.
    package struct Failure: OperatorError, Equatable {
        package let problem: String
        package let remedy: String
    }

    /// The file at the default place need not be there; one that was asked for must.
    package static func read(at path: String?) throws(Failure) -> Settings {
        let place = path ?? defaultPath
        let bytes: [UInt8]?
        do throws(SystemError) {
            bytes = try AtomicFile.read(place, limit: limit)
        } catch {
            throw Failure(
                problem: "cannot read the configuration file \(place): \(error)", remedy: "check its owner and mode")
        }
        guard let bytes else {
            guard path != nil else { return Settings() }
            throw Failure(
                problem: "there is no configuration file \(place)",
                remedy: "write it, or leave --config away to use the defaults")
        }
        do throws(YAMLError) {
            return try YAML.decode(Settings.self, from: bytes, name: place)
        } catch {
            throw Failure(problem: error.problem, remedy: error.remedy)
        }
    }
}
