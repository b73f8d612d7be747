import BrambleAPI

/// What `POST /v1/sql` takes: one statement, or several as a transaction.
struct SQLBody: Codable, Sendable {
    var statement: String?
    var params: [SQLValue]?
    /// Instead of `statement`: all of them or none.
    var transaction: [SQLStatement]?
    /// “one” unless said otherwise.
    var durability: WriteDurability?
    /// Refuses statements that would write.
    var readOnly: Bool?
    /// Rows of each statement at most.
    var limit: Int?
    /// For JavaScript: integers beyond 2⁵³ − 1 come as {"integer":"DIGITS"}.
    var safeIntegers: Bool?
}

/// What it answers; described here, written by `JSONWriter`.
struct SQLBodyAnswer: Codable, Sendable {
    // To one statement.
    var columns: [String]?
    var rows: [[SQLValue]]?
    var truncated: Bool?
    /// To a transaction, instead of those three: one for each statement.
    var results: [SQLResult]?
    /// Of all statements.
    var changed: Int
    /// What was really reached; null when nothing was written.
    var durability: WriteDurability?
    var note: String
    var token: String
}

/// A request for the node, made from a body that fits the schema.
///
/// Not by Foundation's decoder: it takes 1.0 for a whole number, and a column would get another value than was sent.
struct SQLCall: Sendable {
    let request: SQLRequest
    let isTransaction: Bool
    let forJavaScript: Bool

    /// A guess, from the first bytes of a body: its statement is one that reads.
    static func beginsWithSelect(_ body: [UInt8]) -> Bool {
        var rest = body.prefix(128)[...]
        for word in ["{", "\"statement\"", ":", "\"", "select"] {
            rest = rest.drop { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
            guard rest.count >= word.utf8.count, zip(rest, word.utf8).allSatisfy({ $0 | 0x20 == $1 | 0x20 }) else {
                return false
            }
            rest = rest.dropFirst(word.utf8.count)
        }
        return true
    }

    init(_ body: JSONValue) throws(APIError) {
        guard case .object(let fields) = body else { throw Self.invalid("the body must be an object") }
        switch (fields["statement"] ?? .null, fields["transaction"] ?? .null) {
        case (.string, .null):
            isTransaction = false
        case (.null, .array):
            guard (fields["params"] ?? .null) == .null else {
                throw Self.invalid("“params” stand beside each statement of a transaction, not beside the transaction")
            }
            isTransaction = true
        case (.null, .null): throw Self.invalid("the field “statement” is missing")
        default: throw Self.invalid("“statement” and “transaction” exclude each other")
        }
        var statements: [SQLStatement] = []
        if isTransaction, case .array(let items)? = fields["transaction"] {
            guard !items.isEmpty else { throw Self.invalid("“transaction” has no statement") }
            guard items.count <= SQLRequest.mostStatements else {
                throw Self.invalid(
                    "a transaction has at most \(SQLRequest.mostStatements) statements, not \(items.count)")
            }
            for (index, item) in items.enumerated() {
                statements.append(try Self.statement(item, at: "transaction[\(index)]."))
            }
        } else {
            statements = [try Self.statement(body, at: "")]
        }
        var durability = WriteDurability.one
        if case .string(let word)? = fields["durability"], let asked = WriteDurability(rawValue: word) {
            durability = asked
        }
        var limit = SQLRequest.mostRows
        if case .integer(let number)? = fields["limit"] {
            guard (1...Int64(SQLRequest.mostRows)).contains(number) else {
                throw Self.invalid("“limit” must be from 1 to \(SQLRequest.mostRows), not \(number)")
            }
            limit = Int(number)
        }
        forJavaScript = fields["safeIntegers"] == .bool(true)
        request = SQLRequest(
            statements, durability: durability, isReadOnly: fields["readOnly"] == .bool(true), rowLimit: limit)
    }

    private static func statement(_ value: JSONValue, at place: String) throws(APIError) -> SQLStatement {
        guard case .object(let fields) = value, case .string(let text)? = fields["statement"] else {
            throw invalid("the field “\(place)statement” is missing")
        }
        guard text.utf8.count <= SQLRequest.longestStatement else {
            throw invalid("“\(place)statement” is longer than \(SQLRequest.longestStatement) bytes")
        }
        guard text.utf8.contains(where: { $0 > 0x20 }) else { throw invalid("“\(place)statement” is empty") }
        guard !text.utf8.contains(0) else { throw invalid("“\(place)statement” has a zero byte in it") }
        guard case .array(let params)? = fields["params"] else { return SQLStatement(text) }
        guard params.count <= SQLRequest.mostParameters else {
            throw invalid("“\(place)params” has more than \(SQLRequest.mostParameters) values")
        }
        var values: [SQLValue] = []
        values.reserveCapacity(params.count)
        for (index, param) in params.enumerated() {
            guard let value = SQLValue(param) else {
                throw invalid("“\(place)params[\(index)]” must be \(SQLValue.rule)")
            }
            values.append(value)
        }
        return SQLStatement(text, values)
    }

    private static func invalid(_ problem: String) -> APIError {
        APIError(problem: problem, remedy: "/openapi.json has the fields of every request", kind: .invalid)
    }
}
