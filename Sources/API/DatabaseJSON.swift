// Answers of the database, read from JSON as it was written: 1.0 is a real, 1 is an integer.

extension SQLAnswer {
    /// Of one statement or of a transaction.
    package init?(_ json: JSONValue) {
        guard case .object(let fields) = json, case .string(let note)? = fields["note"],
            case .string(let token)? = fields["token"]
        else { return nil }
        if case .array(let items)? = fields["results"] {
            results = items.compactMap { SQLResult($0) }
            guard results.count == items.count else { return nil }
        } else {
            guard let result = SQLResult(json) else { return nil }
            results = [result]
        }
        durability = if case .string(let word)? = fields["durability"] { WriteDurability(rawValue: word) } else { nil }
        self.note = note
        self.token = token
    }
}

extension SQLResult {
    package init?(_ json: JSONValue) {
        guard case .object(let fields) = json, case .array(let names)? = fields["columns"],
            case .array(let lines)? = fields["rows"], case .integer(let count)? = fields["changed"],
            case .bool(let isCut)? = fields["truncated"]
        else { return nil }
        columns = names.compactMap { if case .string(let name) = $0 { name } else { nil } }
        rows = []
        rows.reserveCapacity(lines.count)
        for line in lines {
            guard case .array(let items) = line else { return nil }
            let values = items.compactMap { SQLValue($0) }
            guard values.count == columns.count else { return nil }
            rows.append(values)
        }
        changed = Int(count)
        truncated = isCut
        guard columns.count == names.count else { return nil }
    }
}

extension RowChange {
    package init?(_ json: JSONValue) {
        guard case .object(let fields) = json, case .string(let token)? = fields["token"],
            case .string(let table)? = fields["table"], case .string(let word)? = fields["op"],
            let op = Operation(rawValue: word), let key = Self.row(fields["key"])
        else { return nil }
        var row: [String: SQLValue]?
        if let given = fields["row"], given != .null {
            guard let values = Self.row(given) else { return nil }
            row = values
        }
        self.init(token: token, table: table, key: key, op: op, row: row)
    }

    private static func row(_ json: JSONValue?) -> [String: SQLValue]? {
        guard case .object(let fields)? = json else { return nil }
        let values = fields.compactMapValues { SQLValue($0) }
        return values.count == fields.count ? values : nil
    }
}
