import FoundationEssentials

extension SQLValue: Codable {
    private enum Form: String, CodingKey { case blob, real, integer }

    public init(from decoder: any Decoder) throws {
        let value = try JSONValue(from: decoder)
        guard let known = SQLValue(value) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: Self.rule))
        }
        self = known
    }

    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .null:
            var container = encoder.singleValueContainer()
            try container.encodeNil()
        case .integer(let value):
            var container = encoder.singleValueContainer()
            try container.encode(value)
        case .real(let value) where value.isFinite:
            var container = encoder.singleValueContainer()
            try container.encode(value)
        case .real(let value):
            var container = encoder.container(keyedBy: Form.self)
            try container.encode(value < 0 ? "-Infinity" : "Infinity", forKey: .real)
        case .text(let value):
            var container = encoder.singleValueContainer()
            try container.encode(value)
        case .blob(let bytes):
            var container = encoder.container(keyedBy: Form.self)
            try container.encode(Data(bytes).base64EncodedString(), forKey: .blob)
        }
    }

    /// What a parameter may be, for people.
    public static let rule =
        "null, true, false, a number, a string, {\"blob\":\"BASE64\"}, {\"integer\":\"DIGITS\"} or {\"real\":\"Infinity\"}"

    /// Nil for what is no value of SQL: lists, and objects other than the three forms.
    public init?(_ json: JSONValue) {
        switch json {
        case .null: self = .null
        case .bool(let value): self = .integer(value ? 1 : 0)
        case .integer(let value): self = .integer(value)
        case .number(let value): self = .real(value)
        case .string(let value): self = .text(value)
        case .array: return nil
        case .object(let members):
            guard members.count == 1, let member = members.first, case .string(let text) = member.value else {
                return nil
            }
            switch Form(rawValue: member.key) {
            case .blob:
                guard let data = Data(base64Encoded: text) else { return nil }
                self = .blob([UInt8](data))
            case .integer:
                guard let value = Int64(text) else { return nil }
                self = .integer(value)
            case .real:
                switch text {
                case "Infinity": self = .real(.infinity)
                case "-Infinity": self = .real(-.infinity)
                default: return nil
                }
            case nil: return nil
            }
        }
    }
}
