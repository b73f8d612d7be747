import BrambleAPI
import FoundationEssentials
import Testing

@Suite("JSON keeps its promises to scripts")
struct TypesTests {
    private func keys(_ value: some Encodable) throws -> [String: JSONValue] {
        try JSONDecoder().decode([String: JSONValue].self, from: JSONEncoder().encode(value))
    }

    @Test("what is not known is null, never left out")
    func nulls() throws {
        let unknown = try keys(Example.nodes[4])
        #expect(unknown["phi"] == .null && unknown["load"] == .null)
        #expect(unknown["self"] == .bool(false))
        let load = NodeLoad(cpu: 0, memory: 0, load1: 0, load5: 0, load15: 0, temperature: nil)
        #expect(try keys(load)["temperature"] == .null)
        let edge = try keys(WatchEdge(from: "a", to: "b", state: .opening, phi: nil, rttMs: nil))
        #expect(edge["phi"] == .null && edge["rttMs"] == .null)
    }

    @Test("a node survives being written and read")
    func nodes() throws {
        #expect(try JSONDecoder().decode([NodeInfo].self, from: JSONEncoder().encode(Example.nodes)) == Example.nodes)
    }
}
