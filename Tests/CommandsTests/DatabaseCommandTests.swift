import BrambleAPI
import FoundationEssentials
import Glibc
import Testing

@testable import Commands

@Suite("SQL from the command line")
struct DatabaseCommandTests {
    @Test(
        "statements end at a semicolon that stands outside strings, names and comments",
        arguments: [
            ("select 1", [], "select 1"), ("select 1;", ["select 1"], ""), (" a ; b;\n;; c", ["a", "b"], "c"),
            ("select ';' ; b", ["select ';'"], "b"), ("select 'it''s;' ; b", ["select 'it''s;'"], "b"),
            (#"select ";" from `;` , [;] ; b"#, [#"select ";" from `;` , [;]"#], "b"),
            ("a -- no; end\n; b", ["a -- no; end"], "b"), ("a /* ; */ ; b", ["a /* ; */"], "b"),
            ("-- only a comment", [], ""), ("/* ; ", [], ""), ("select 'open;", [], "select 'open;"), ("", [], ""),
            ("a - b / c; d", ["a - b / c"], "d"), ("select 'é;ü'; b", ["select 'é;ü'"], "b"),
        ] as [(String, [String], String)])
    func splitting(text: String, whole: [String], rest: String) {
        let found = SQLText.statements(in: text)
        #expect(found.whole == whole && found.rest == rest, "\(found)")
    }

    @Test("junk is split somehow, and nothing but semicolons and white space is lost")
    func junk() {
        var chance = SystemRandomNumberGenerator()
        let letters = Array("a;'\"`[]-/*\n é")
        for _ in 0..<5000 {
            let text = String((0..<20).map { _ in letters[Int(chance.next() % UInt64(letters.count))] })
            let (whole, rest) = SQLText.statements(in: text)
            let kept = (whole + [rest]).joined().filter { $0 == "a" }.count
            // What only comments held may be left out whole.
            #expect(kept <= text.filter { $0 == "a" }.count)
            #expect(!whole.contains(""))
        }
    }

    @Test("parameters are JSON, in their order, and reach the node as the values they are")
    func parameters() async throws {
        let shell = Shell()
        let result = await shell.run([
            "sql", "insert", "-p", "1", "-p", "1.0", "-p", "-5", "--param", #""text""#, "-p", "null", "-p", "true",
            "-p",
            #"{"blob":"AAE="}"#, "--durability", "majority",
        ])
        #expect(result.code == 0, "\(result.err)")
        #expect(
            shell.server.asked[0].contains(
                #"{"transaction":[{"statement":"insert","params":[1,1.0,-5,"text",null,1,{"blob":"AAE="}]}],"durability":"majority","readOnly":false,"limit":10000}"#
            ))
    }

    @Test("statements come from standard input or a file, and are one transaction")
    func sources() async throws {
        let shell = Shell()
        var result = await shell.run(["sql", "-"], input: ["insert into a", "values (1);", "update a set b = ';';"])
        #expect(result.code == 0 && result.out == "1 row changed.\n1 row changed.\n", "\(result)")
        #expect(
            shell.server.asked[0].contains(
                #"[{"statement":"insert into a\nvalues (1)","params":[]},{"statement":"update a set b = ';'","params":[]}]"#
            ))
        let path = temporaryPath("schema.sql")
        defer { unlink(path) }
        try Data("-- the schema\ncreate table a (b);\n".utf8).write(to: URL(filePath: path))
        result = await shell.run(["sql", "--file", path, "--read-only"])
        #expect(result.code == 0)
        #expect(shell.server.asked[1].contains(#""readOnly":true"#))
    }

    @Test(
        "what cannot be right ends with exit code 2, before anybody is asked",
        arguments: [
            ["sql"], ["sql", ""], ["sql", " ; "], ["sql", "a;b", "-p", "1"], ["sql", "a", "--durability", "all"],
            ["sql", "a", "--file", "/etc/hostname"], ["sql", "--file", "/nowhere/x"], ["sql", "a", "-p", "[1]"],
            ["sql", "a", "-p", "x"], ["watch"], ["backup"], ["backup", "/etc/hostname"], ["backup", "/nowhere/x"],
            ["restore", "/nowhere/x", "--yes"], ["restore", "/etc/hostname"], ["conflicts", "--last", "0"],
        ])
    func usage(words: [String]) async {
        let shell = Shell()
        let result = await shell.run(words)
        #expect(result.code == 2 && result.out.isEmpty, "\(result)")
        #expect(result.err.hasPrefix("bramble: ") && result.err.contains("\nremedy: "))
        #expect(shell.server.asked.isEmpty)
    }

    @Test("a backup is a file of its own, whole or not there")
    func backup() async throws {
        let path = temporaryPath("backup.db")
        defer { unlink(path) }
        let shell = Shell()
        let result = await shell.run(["backup", path])
        #expect(result.code == 0 && result.out == "\(path) has the database: 25 bytes.\n", "\(result)")
        #expect(try Data(contentsOf: URL(filePath: path)) == Data("SQLite format 3 and so on".utf8))
        #expect(access(path + ".part", F_OK) != 0)

        let broken = Shell { _ in
            [.send("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.sqlite3\r\nContent-Length: 500\r\n\r\nSQLite")]
        }
        let other = temporaryPath("other.db")
        let failed = await broken.run(["backup", other])
        #expect(failed.code == 3, "\(failed)")
        #expect(access(other, F_OK) != 0 && access(other + ".part", F_OK) != 0)

        let full = await shell.run(["backup", "/dev/full/x"])
        #expect(full.code == 2)
    }

    @Test("a restore sends the file as it is, and a refusal is shown")
    func restore() async throws {
        let path = temporaryPath("restore.db")
        defer { unlink(path) }
        try Data("SQLite format 3 as a backup".utf8).write(to: URL(filePath: path))
        let shell = Shell()
        let result = await shell.run(["restore", path, "--yes"])
        #expect(result.code == 0, "\(result)")
        #expect(result.out == "the database is restored, and every node takes it over\n")
        try Data("something else".utf8).write(to: URL(filePath: path))
        let refused = await shell.run(["restore", path, "--yes"])
        #expect(refused.code == 1 && refused.err.contains("no backup"), "\(refused)")
    }

    private func temporaryPath(_ name: String) -> String {
        FileManager.default.temporaryDirectory.path + "/bramble-test-\(UInt64.random(in: 0...UInt64.max))-\(name)"
    }
}
