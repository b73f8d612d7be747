/// A piece of SQL text.
struct SQLToken: Equatable {
    enum Kind: Equatable { case word, quoted, string, number, symbol(UInt8) }
    let kind: Kind
    /// A word in capitals; a quoted name or string without its quotes.
    let text: String
    /// In the bytes of the whole text.
    let range: Range<Int>

    func isWord(_ word: String) -> Bool { kind == .word && text == word }
    func isSymbol(_ symbol: Character) -> Bool { symbol.asciiValue.map { kind == .symbol($0) } ?? false }
    /// What can stand for a name.
    var isName: Bool { kind == .word || kind == .quoted || kind == .string }
}

/// What one statement is, as far as replication must know before SQLite reads it.
enum SQLStatementKind: Equatable {
    /// `sql` is what is executed and replicated: without ROWID, without IF NOT EXISTS.
    case createTable(name: String, ifNotExists: Bool, sql: String)
    case addColumn(table: String, column: String, definition: String, sql: String)
    case createIndex(name: String, table: String, ifNotExists: Bool, sql: String)
    case createView(name: String, ifNotExists: Bool, sql: String)
    case other
}

/// Reads SQL text so far that strings, names and comments cannot hide anything.
enum SQLText {
    /// The statements of a text, each with its tokens. Comments belong to none.
    static func statements(_ text: [UInt8]) -> [[SQLToken]] {
        var statements: [[SQLToken]] = []
        var current: [SQLToken] = []
        for token in tokens(text) {
            if token.isSymbol(";") {
                if !current.isEmpty { statements.append(current) }
                current = []
            } else {
                current.append(token)
            }
        }
        if !current.isEmpty { statements.append(current) }
        return statements
    }

    static func tokens(_ text: [UInt8]) -> [SQLToken] {
        var tokens: [SQLToken] = []
        var place = 0
        let end = text.count
        func at(_ index: Int) -> UInt8 { index < end ? text[index] : 0 }
        while place < end {
            let start = place
            let byte = text[place]
            switch byte {
            case 32, 9, 10, 12, 13: place += 1
            case UInt8(ascii: "-") where at(place + 1) == UInt8(ascii: "-"):
                while place < end, text[place] != 10 { place += 1 }
            case UInt8(ascii: "/") where at(place + 1) == UInt8(ascii: "*"):
                place += 2
                while place < end, !(text[place] == UInt8(ascii: "*") && at(place + 1) == UInt8(ascii: "/")) {
                    place += 1
                }
                place = min(place + 2, end)
            case UInt8(ascii: "'"), UInt8(ascii: "\""), UInt8(ascii: "`"), UInt8(ascii: "["):
                let close = byte == UInt8(ascii: "[") ? UInt8(ascii: "]") : byte
                var content: [UInt8] = []
                place += 1
                while place < end {
                    if text[place] == close {
                        guard close != UInt8(ascii: "]"), at(place + 1) == close else { break }
                        place += 1
                    }
                    content.append(text[place])
                    place += 1
                }
                place = min(place + 1, end)
                let kind = byte == UInt8(ascii: "'") ? SQLToken.Kind.string : .quoted
                tokens.append(
                    SQLToken(kind: kind, text: String(decoding: content, as: UTF8.self), range: start..<place))
            case _ where isDigit(byte):
                while place < end, isWordByte(text[place]) || text[place] == UInt8(ascii: ".") { place += 1 }
                tokens.append(SQLToken(kind: .number, text: slice(text, start..<place), range: start..<place))
            case _ where isWordByte(byte):
                while place < end, isWordByte(text[place]) { place += 1 }
                tokens.append(
                    SQLToken(kind: .word, text: slice(text, start..<place).uppercased(), range: start..<place))
            default:
                place += 1
                tokens.append(SQLToken(kind: .symbol(byte), text: slice(text, start..<place), range: start..<place))
            }
        }
        return tokens
    }

    /// What a statement is; throws for what cannot hold on several nodes.
    static func kind(of tokens: [SQLToken], in text: [UInt8]) throws(StoreError) -> SQLStatementKind {
        var reader = TokenReader(tokens: tokens, text: text)
        if reader.take("BEGIN") || reader.take("COMMIT") || reader.take("END") || reader.take("ROLLBACK")
            || reader.take("SAVEPOINT") || reader.take("RELEASE")
        {
            throw refused(
                "transactions are not opened or closed by statements", tokens[0],
                remedy: "send all statements of one transaction in one call: they succeed or fail together")
        }
        if reader.take("DROP") {
            throw refused(
                "DROP cannot be replicated: another node may be writing to it", tokens[0],
                remedy: "delete the rows (DELETE FROM ...) and leave the table, index or view")
        }
        if reader.take("VACUUM") {
            throw refused(
                "VACUUM is not allowed: it would stop all writes while it copies the file", tokens[0],
                remedy: "leave it out: free space in the file is used again")
        }
        if reader.take("ALTER") { return try alter(&reader) }
        guard reader.take("CREATE") else { return .other }
        if reader.take("TEMP") || reader.take("TEMPORARY") {
            throw refused(
                "temporary tables and views are not there: calls share no session", tokens[1],
                remedy: "use WITH ... AS (...) inside the statement")
        }
        if reader.take("TRIGGER") {
            throw refused(
                "triggers would run on one node only, or on each node once more", tokens[1],
                remedy: "do it in the same transaction: several statements in one call")
        }
        if reader.take("VIRTUAL") {
            throw refused("virtual tables cannot be replicated", tokens[1], remedy: "use an ordinary table")
        }
        if reader.take("UNIQUE") {
            throw refused(
                "UNIQUE beyond the primary key cannot hold: two nodes that do not hear each other could both insert it",
                tokens[1], remedy: "make it the primary key, or use CREATE INDEX without UNIQUE")
        }
        if reader.take("TABLE") { return try createTable(&reader) }
        if reader.take("INDEX") { return try createIndex(&reader) }
        if reader.take("VIEW") { return try createView(&reader) }
        return .other
    }

    static func quoted(_ name: String) -> String {
        "\"" + name.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    }

    /// The columns of a normalised CREATE TABLE: names and definitions.
    static func columns(ofCreate sql: String) -> [(name: String, definition: String)] {
        let text = Array(sql.utf8)
        let reader = TokenReader(tokens: tokens(text), text: text)
        guard let open = reader.tokens.firstIndex(where: { $0.isSymbol("(") }),
            let items = reader.items(from: open)?.items
        else { return [] }
        return items.compactMap { item in
            guard let first = item.first, !isConstraint(first), let last = item.last else { return nil }
            return (name(first, text), slice(text, first.range.lowerBound..<last.range.upperBound))
        }
    }

    // MARK: Statements

    private static func createTable(_ reader: inout TokenReader) throws(StoreError) -> SQLStatementKind {
        let ifNotExists = reader.takeIfNotExists()
        guard let named = try reader.qualifiedName() else { return .other }
        if reader.peek?.isWord("AS") == true {
            throw refused(
                "CREATE TABLE ... AS SELECT declares no primary key", reader.peek,
                remedy: "create the table with its columns and key, then INSERT INTO ... SELECT")
        }
        guard let open = reader.peek, open.isSymbol("("), let (items, close) = reader.items(from: reader.place) else {
            return .other  // SQLite tells what is wrong
        }
        var additions: [(place: Int, text: String)] = []
        var hasKey = false
        for item in items {
            try refuseInColumns(item)
            for (index, token) in item.enumerated() where token.isWord("PRIMARY") && depth(item, index) == 0 {
                hasKey = true
            }
            guard let first = item.first, let last = item.last, !isConstraint(first) else { continue }
            let words = topWords(item.dropFirst())
            if let addition = defaultOf(words) { additions.append((last.range.upperBound, addition)) }
        }
        guard hasKey else {
            throw refused(
                "table \(name(named, reader.text)) has no primary key: its rows would have no identity on other nodes",
                named,
                remedy: "declare one, for example: id INTEGER PRIMARY KEY")
        }
        var body: [UInt8] = []
        var place = open.range.lowerBound
        let end = reader.tokens[close].range.upperBound
        for addition in additions {
            body += reader.text[place..<addition.place] + Array(addition.text.utf8)
            place = addition.place
        }
        body += reader.text[place..<end]
        var options = reader.tokens[(close + 1)...].map(\.text)
        if !options.contains("WITHOUT") {
            options += options.isEmpty ? ["WITHOUT", "ROWID"] : [",", "WITHOUT", "ROWID"]
        }
        let tableName = name(named, reader.text)
        let sql =
            "CREATE TABLE \(quoted(tableName)) \(String(decoding: body, as: UTF8.self)) "
            + options.joined(separator: " ")
        return .createTable(name: tableName, ifNotExists: ifNotExists, sql: sql)
    }

    private static func alter(_ reader: inout TokenReader) throws(StoreError) -> SQLStatementKind {
        guard reader.take("TABLE"), let named = try reader.qualifiedName() else { return .other }
        guard reader.take("ADD") else {
            throw refused(
                "renaming and dropping cannot be replicated: another node may be writing under the old name",
                reader.peek, remedy: "add a column, copy the values with UPDATE, and leave the old one")
        }
        _ = reader.take("COLUMN")
        let item = Array(reader.tokens[reader.place...])
        guard let first = item.first, let last = item.last, first.isName else { return .other }
        try kind(ofColumn: item, in: reader.text)
        var definition = slice(reader.text, first.range.lowerBound..<last.range.upperBound)
        if let addition = defaultOf(topWords(item.dropFirst())) { definition += addition }
        let table = name(named, reader.text)
        return .addColumn(
            table: table, column: name(first, reader.text), definition: definition,
            sql: "ALTER TABLE \(quoted(table)) ADD COLUMN \(definition)")
    }

    /// Throws for a definition of a column that cannot hold on several nodes.
    static func kind(ofColumn item: [SQLToken], in text: [UInt8]) throws(StoreError) {
        guard let first = item.first, first.isName else {
            throw refused("a column has no name", item.first, remedy: "give it one")
        }
        try refuseInColumns(item)
        if let key = item.first(where: { $0.isWord("PRIMARY") }) {
            throw refused(
                "the primary key of a table cannot be changed", key, remedy: "create another table and copy the rows")
        }
    }

    private static func createIndex(_ reader: inout TokenReader) throws(StoreError) -> SQLStatementKind {
        let ifNotExists = reader.takeIfNotExists()
        guard let named = try reader.qualifiedName(), reader.take("ON"), let table = reader.next(), table.isName,
            let last = reader.tokens.last
        else { return .other }
        let rest = slice(reader.text, table.range.upperBound..<last.range.upperBound)
        let index = name(named, reader.text)
        let tableName = name(table, reader.text)
        return .createIndex(
            name: index, table: tableName, ifNotExists: ifNotExists,
            sql: "CREATE INDEX \(quoted(index)) ON \(quoted(tableName))\(rest)")
    }

    private static func createView(_ reader: inout TokenReader) throws(StoreError) -> SQLStatementKind {
        let ifNotExists = reader.takeIfNotExists()
        guard let named = try reader.qualifiedName(), let last = reader.tokens.last else { return .other }
        let view = name(named, reader.text)
        let rest = slice(reader.text, named.range.upperBound..<last.range.upperBound)
        return .createView(name: view, ifNotExists: ifNotExists, sql: "CREATE VIEW \(quoted(view))\(rest)")
    }

    /// What stands for a value where nobody gives one: a number unique on all nodes for an integer key, and zero for a counter.
    private static func defaultOf(_ words: [String]) -> String? {
        guard !words.contains("DEFAULT"), let type = words.first else { return nil }
        if type == "COUNTER" { return (words.contains("NOT") ? "" : " NOT NULL") + " DEFAULT 0" }
        if ["INTEGER", "INT", "BIGINT"].contains(type), words.contains("PRIMARY") { return " DEFAULT (bramble_id())" }
        return nil
    }

    private static func refuseInColumns(_ item: [SQLToken]) throws(StoreError) {
        for (index, token) in item.enumerated() where depth(item, index) == 0 {
            // The first is the column's name, unless the item is a constraint of the table.
            if index == 0, !isConstraint(token) { continue }
            if token.isWord("UNIQUE") {
                throw refused(
                    "UNIQUE beyond the primary key cannot hold: two nodes that do not hear each other could both insert it",
                    token, remedy: "make it the primary key, or part of it")
            }
            if token.isWord("REFERENCES") || token.isWord("FOREIGN") {
                throw refused(
                    "foreign keys cannot hold: another node may delete the row they point to", token,
                    remedy: "leave the constraint out, and join with LEFT JOIN")
            }
            if token.isWord("AUTOINCREMENT") {
                throw refused(
                    "AUTOINCREMENT would give the same number on two nodes", token,
                    remedy: "leave it out: an INTEGER PRIMARY KEY gets a number that is unique on all nodes")
            }
            if token.isWord("GENERATED") || token.isWord("AS") {
                throw refused(
                    "generated columns are not replicated", token, remedy: "use a view, or compute it in the query")
            }
        }
    }

    private static func isConstraint(_ token: SQLToken) -> Bool {
        token.kind == .word && ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"].contains(token.text)
    }
    private static func depth(_ item: [SQLToken], _ index: Int) -> Int {
        item[..<index].reduce(0) { $1.isSymbol("(") ? $0 + 1 : $1.isSymbol(")") ? $0 - 1 : $0 }
    }
    private static func topWords(_ item: some Sequence<SQLToken>) -> [String] {
        var depth = 0
        var words: [String] = []
        for token in item {
            if token.isSymbol("(") { depth += 1 }
            if token.isSymbol(")") { depth -= 1 }
            if depth == 0, token.kind == .word { words.append(token.text) }
        }
        return words
    }

    static func refused(_ problem: String, _ token: SQLToken?, remedy: String) -> StoreError {
        StoreError(.statement, problem, remedy: remedy, position: token?.range.lowerBound)
    }
    /// As it was written: a word keeps its letters.
    static func name(_ token: SQLToken, _ text: [UInt8]) -> String {
        token.kind == .word ? slice(text, token.range) : token.text
    }
    static func slice(_ text: [UInt8], _ range: Range<Int>) -> String {
        String(decoding: text[range], as: UTF8.self)
    }
    private static func isDigit(_ byte: UInt8) -> Bool { byte >= 48 && byte <= 57 }
    private static func isWordByte(_ byte: UInt8) -> Bool {
        byte >= 128 || byte == 95 || byte == 36 || isDigit(byte) || (byte | 32 >= 97 && byte | 32 <= 122)
    }
}

private struct TokenReader {
    let tokens: [SQLToken]
    let text: [UInt8]
    var place = 0

    init(tokens: [SQLToken], text: [UInt8]) {
        self.tokens = tokens
        self.text = text
    }
    var peek: SQLToken? { place < tokens.count ? tokens[place] : nil }
    mutating func next() -> SQLToken? {
        guard let token = peek else { return nil }
        place += 1
        return token
    }
    mutating func take(_ word: String) -> Bool {
        guard peek?.isWord(word) == true else { return false }
        place += 1
        return true
    }
    mutating func takeIfNotExists() -> Bool { take("IF") && take("NOT") && take("EXISTS") }

    /// A name, with `main.` in front or not.
    mutating func qualifiedName() throws(StoreError) -> SQLToken? {
        guard let first = next(), first.isName else { return nil }
        guard peek?.isSymbol(".") == true else {
            try refuseReserved(first)
            return first
        }
        guard SQLText.name(first, text).lowercased() == "main" else {
            throw SQLText.refused("there is one database only", first, remedy: "leave the name before the dot out")
        }
        place += 1
        guard let second = next(), second.isName else { return nil }
        try refuseReserved(second)
        return second
    }
    private func refuseReserved(_ token: SQLToken) throws(StoreError) {
        guard SQLText.name(token, text).lowercased().hasPrefix("bramble_") else { return }
        throw SQLText.refused("names that begin with bramble_ are Bramble's own", token, remedy: "choose another name")
    }

    /// The parts between commas of the parenthesis that opens at a place, and where it closes.
    func items(from open: Int) -> (items: [[SQLToken]], close: Int)? {
        var items: [[SQLToken]] = []
        var item: [SQLToken] = []
        var depth = 0
        for index in open..<tokens.count {
            let token = tokens[index]
            if token.isSymbol("(") {
                depth += 1
                if depth == 1 { continue }
            }
            if token.isSymbol(")") {
                depth -= 1
                if depth == 0 {
                    if !item.isEmpty { items.append(item) }
                    return (items, index)
                }
            }
            if depth == 1, token.isSymbol(",") {
                if !item.isEmpty { items.append(item) }
                item = []
            } else {
                item.append(token)
            }
        }
        return nil
    }
}
