import Primitives
import XML

/// What a resource agent tells about itself: its parameters, and how long it thinks its actions take.
package struct AgentMetadata: Equatable, Sendable {
    package struct Parameter: Equatable, Sendable {
        package var name: String
        package var isRequired = false
        package var type = "string"
        package var standard: String?
        /// One line.
        package var description = ""
        /// The parameter that should be used instead.
        package var replacement: String?
    }
    package struct Action: Equatable, Sendable {
        package var name: String
        package var timeout: Duration?
        package var interval: Duration?
        package var depth: Int
    }
    package var name = ""
    package var description = ""
    package var parameters: [Parameter] = []
    package var actions: [Action] = []

    /// More than any agent has; further ones are left out.
    static let most = 512

    /// Nil when it is nothing of an agent.
    package init?(_ bytes: some Collection<UInt8>) {
        var xml = TolerantXML(bytes)
        var path: [String] = []
        var isAgent = false
        while let piece = xml.next() {
            switch piece {
            case .open(let name, let attributes, let isEmpty):
                switch name {
                case "resource-agent":
                    isAgent = true
                    self.name = attributes["name"] ?? ""
                case "parameter": add(parameter: attributes)
                case "content": take(content: attributes)
                case "deprecated": break
                case "replaced-with": change { $0.replacement = attributes["name"] }
                case "action": add(action: attributes)
                default: break
                }
                if !isEmpty, path.count < 64 { path.append(name) }
            case .close(let name):
                // Also what was left open within.
                if let place = path.lastIndex(of: name) { path.removeSubrange(place...) }
            case .text(let text):
                guard path.last == "shortdesc" else { continue }
                let line = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
                if path.contains("parameter") {
                    change { $0.description += line }
                } else {
                    description += line
                }
            }
        }
        guard isAgent else { return nil }
    }

    package func timeout(of action: String) -> Duration? {
        actions.first { $0.name == action && $0.depth == 0 }?.timeout
    }

    private mutating func add(parameter attributes: [String: String]) {
        guard let name = attributes["name"], !name.isEmpty, parameters.count < Self.most else { return }
        parameters.append(Parameter(name: name, isRequired: Self.isTrue(attributes["required"])))
    }
    private mutating func take(content attributes: [String: String]) {
        change {
            $0.type = attributes["type"] ?? $0.type
            $0.standard = attributes["default"]
        }
    }
    private mutating func add(action attributes: [String: String]) {
        guard let name = attributes["name"], !name.isEmpty, actions.count < Self.most else { return }
        actions.append(
            Action(
                name: name, timeout: attributes["timeout"].flatMap(Self.duration),
                interval: attributes["interval"].flatMap(Self.duration), depth: Int(attributes["depth"] ?? "") ?? 0))
    }
    private mutating func change(_ body: (inout Parameter) -> Void) {
        guard !parameters.isEmpty else { return }
        body(&parameters[parameters.count - 1])
    }

    private static func isTrue(_ text: String?) -> Bool { ["1", "true", "yes"].contains(text?.lowercased() ?? "") }

    /// "20s", "20", "100ms", "1min", "2h"; bare numbers are seconds, as the specification has it.
    static func duration(_ text: String) -> Duration? {
        let trimmed = text.split(whereSeparator: \.isWhitespace).joined()
        let digits = trimmed.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits), number >= 0, number <= 31_536_000_000 else { return nil }
        switch trimmed.dropFirst(digits.count).lowercased() {
        case "", "s", "sec": return .seconds(number)
        case "ms", "msec": return .milliseconds(number)
        case "us", "usec": return .microseconds(number)
        case "m", "min": return .seconds(number * 60)
        case "h", "hr": return .seconds(number * 3600)
        default: return nil
        }
    }
}
