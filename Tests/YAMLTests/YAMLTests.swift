import Testing
import YAML

private struct Settings: Decodable, Equatable {
    struct Service: Decodable, Equatable {
        var name: String
        var addresses: [String]?
        var weight: Double?
    }
    var name: String?
    var port: UInt16?
    var join: [String]?
    var discovery: Bool?
    var services: [Service]?
    var labels: [String: String]?
}

@Suite("a YAML file that a person wrote is read, or refused with a place and a remedy")
struct YAMLTests {
    private func error(_ text: String) -> YAMLError? {
        do throws(YAMLError) { _ = try YAML.decode(Settings.self, from: text, name: "f.yaml") } catch { return error }
        return nil
    }

    @Test("a file with every kind of value is read, in block and in flow style")
    func everything() throws {
        let settings = try YAML.decode(
            Settings.self,
            from: """
                # a comment
                name: serv1
                port: 0x1e5b
                join: [10.0.0.1, "10.0.0.2:7771"]
                discovery: false
                services:
                  - name: files
                    addresses: [192.168.1.50/24]
                    weight: 1.5
                  - {name: 80, weight: 2}
                labels: {rack: 1, 'any key': "x: y"}
                """)
        let expected = Settings(
            name: "serv1", port: 7771, join: ["10.0.0.1", "10.0.0.2:7771"], discovery: false,
            services: [
                .init(name: "files", addresses: ["192.168.1.50/24"], weight: 1.5), .init(name: "80", weight: 2),
            ], labels: ["rack": "1", "any key": "x: y"])
        #expect(settings == expected)
    }

    @Test(
        "an empty file, comments alone and an empty section are empty",
        arguments: ["", "# nothing", "---\n", "services:\n"])
    func empty(text: String) throws {
        #expect(try YAML.decode(Settings.self, from: text) == Settings())
    }

    @Test("the same anchor may be used twice")
    func anchors() throws {
        let text = "services: [&a {name: x}, *a]"
        #expect(try YAML.decode(Settings.self, from: text).services == [.init(name: "x"), .init(name: "x")])
    }

    @Test("an unknown key is named with its place and what was meant")
    func unknownKey() throws {
        let found = try #require(error("name: a\nservices:\n  - name: x\n    adresses: [1]\n"))
        #expect(found.problem == "f.yaml, line 4, column 5: unknown key `adresses`")
        #expect(found.remedy == "did you mean `addresses`?")
        #expect(found.line == 4 && found.column == 5)
        let other = try #require(error("zzzzzz: 1"))
        #expect(other.remedy == "allowed here: discovery, join, labels, name, port, services")
    }

    @Test("a misspelt required key is the error, not that the right one is missing")
    func misspeltRequired() throws {
        let found = try #require(error("services: [{nmae: x}]"))
        #expect(found.problem == "f.yaml, line 1, column 13: unknown key `nmae`")
        #expect(found.remedy == "did you mean `name`?")
        #expect(try #require(error("services: [{}]")).problem.hasSuffix("`services[0]` lacks `name`"))
    }

    @Test(
        "a value of the wrong kind is refused with the key, the value and the place",
        arguments: [
            ("port: 70000", "f.yaml, line 1, column 7: `port` must be a whole number from 0 to 65535, not `70000`"),
            ("port: x", "f.yaml, line 1, column 7: `port` must be a whole number, not `x`"),
            ("port: '1'", "f.yaml, line 1, column 8: `port` must be a whole number, not a text"),
            ("discovery: yes", "f.yaml, line 1, column 12: `discovery` must be true or false, not `yes`"),
            ("join: 1", "f.yaml, line 1, column 7: `join` must be a list, not `1`"),
            (
                "services: [x]",
                "f.yaml, line 1, column 12: `services[0]` must be a mapping (`key: value` lines), not `x`"
            ),
            ("- a", "f.yaml, line 1, column 1: must be a mapping (`key: value` lines), not a list"),
            ("name: [a]", "f.yaml, line 1, column 7: `name` must be a text, not a list"),
            (
                "services: [{name: a, weight: .inf}]",
                "f.yaml, line 1, column 30: `services[0].weight` must be a number, not `.inf`"
            ),
            ("name: a\nname: b", "f.yaml, line 2, column 1: `name` is given twice"),
            ("name: !!str a", "f.yaml, line 1, column 13: a type tag (`!`) means nothing here"),
            ("name: *nobody", "f.yaml, line 1, column 8: `*nobody` names nothing above it"),
            ("a: 1\n---\nb: 2", "f.yaml, line 2, column 1: holds a second document"),
            ("[1]: 2", "f.yaml, line 1, column 1: a key must be a word, not a list"),
        ])
    func wrongKind(text: String, problem: String) throws {
        #expect(try #require(error(text)).problem == problem)
    }

    @Test("broken syntax says where", arguments: ["name: [a", "name: \"a", "a: b: c", "\tname: a", "name: a\n  b: c"])
    func syntax(text: String) throws {
        let found = try #require(error(text))
        #expect(found.line != nil && !found.remedy.isEmpty)
    }

    @Test("an alias bomb, a deep nest, a long list and a large file are refused in no time")
    func bombs() throws {
        let bomb =
            "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + (1...12).map { i in
                "a\(i): &a\(i) [" + Array(repeating: "*a\(i - 1)", count: 10).joined(separator: ",") + "]\n"
            }
            .joined()
        struct Anything: Decodable {
            init(from decoder: any Decoder) throws {
                if var list = try? decoder.unkeyedContainer() {
                    while !list.isAtEnd { _ = try list.decode(Anything.self) }
                } else if let mapping = try? decoder.container(keyedBy: Key.self) {
                    for key in mapping.allKeys { _ = try? mapping.decode(Anything.self, forKey: key) }
                }
            }
            struct Key: CodingKey {
                var stringValue: String
                var intValue: Int? { nil }
                init?(stringValue: String) { self.stringValue = stringValue }
                init?(intValue: Int) { nil }
            }
        }
        #expect(throws: YAMLError.self) { try YAML.decode(Anything.self, from: bomb) }
        #expect(throws: YAMLError.self) {
            try YAML.decode(Anything.self, from: String(repeating: "[", count: 30) + String(repeating: "]", count: 30))
        }
        #expect(throws: YAMLError.self) { try YAML.decode(Anything.self, from: String(repeating: "[", count: 200_000)) }
        let long = "[" + String(repeating: "1,", count: 30_000) + "1]"
        #expect(throws: YAMLError.self) { try YAML.decode(Anything.self, from: long) }
        let large = "# " + String(repeating: "x", count: 300_000)
        #expect(throws: YAMLError.self) { try YAML.decode(Anything.self, from: large) }
    }

    @Test("bytes that are no text are refused", arguments: [[0xFF, 0x00], [0x61, 0x3A, 0x20, 0x00]] as [[UInt8]])
    func notText(bytes: [UInt8]) {
        #expect(throws: YAMLError.self) { try YAML.decode(Settings.self, from: bytes) }
    }

    @Test("a damaged file is read or refused, and the good one is read after it")
    func junk() throws {
        let good =
            "name: serv1\nservices: [&a {name: x, addresses: [\"10.0.0.1/24\"]}, *a]\nlabels:\n  a: |\n    text\n"
        var state: UInt64 = 42
        func random(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let letters = Array("\n :-[]{}&*!|>'\"#%@`,?a1\t\\".utf8)
        var refused = 0
        for _ in 0..<3000 {
            var bytes = Array(good.utf8)
            for _ in 0...random(4) {
                let place = random(bytes.count)
                switch random(3) {
                case 0: bytes[place] = letters[random(letters.count)]
                case 1: bytes.remove(at: place)
                default: bytes.insert(letters[random(letters.count)], at: place)
                }
            }
            if (try? YAML.decode(Settings.self, from: bytes)) == nil { refused += 1 }
        }
        #expect(refused > 100)
        #expect(try YAML.decode(Settings.self, from: good).services?.count == 2)
    }
}
