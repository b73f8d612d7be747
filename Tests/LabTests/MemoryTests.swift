import BrambleAPI
import FoundationEssentials
import Lab
import Testing

@Suite("what the cluster remembers", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct MemoryTests {
    private func logsIn(_ password: String, at node: BrambleNode) -> Bool {
        (try? node.ask("POST", "/login", body: #"{"user":"admin","password":"\#(password)"}"#).status) == 200
    }

    @Test("the first password is good on every node; one that is changed anywhere, also after all were killed")
    func password() throws {
        let cluster = try Cluster("n1", "n2", "n3", keyed: false)
        let login = try cluster["n1"].makeCluster("hedge")
        for name in ["n2", "n3"] { try cluster[name].takeKey(of: cluster["n1"]) }
        for node in cluster.nodes { try node.start() }
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(30)), "\(cluster.logs)")
        #expect(cluster.eventuallyAll { logsIn(login.password, at: $0) }, "\(cluster.logs)")
        let answer = try cluster["n3"].ask("POST", "/v1/password", body: #"{"password":"another long one"}"#)
        #expect(answer.status == 200 && !answer.text.contains("note"), "\(answer.text)")
        // Acknowledged by one other: whichever two are killed now, it is there.
        for node in cluster.nodes { node.kill() }
        for node in cluster.nodes { try node.restart() }
        #expect(cluster.agree(alive: ["n1", "n2", "n3"], within: .seconds(30)), "\(cluster.logs)")
        #expect(cluster.eventuallyAll { logsIn("another long one", at: $0) }, "\(cluster.logs)")
        for node in cluster.nodes { #expect(!logsIn(login.password, at: node)) }
        for node in cluster.nodes {
            let file = node.host.read("\(BrambleNode.dataDirectory)/facts.json") ?? ""
            #expect(!file.contains("user/"), "passwords are in the database alone")
        }
    }

    @Test("a password that is changed on a node alone says that no other node has it yet")
    func alone() throws {
        let cluster = try Cluster("n1")
        let answer = try cluster["n1"].ask("POST", "/v1/password", body: #"{"password":"another long one"}"#)
        #expect(answer.status == 200 && answer.text.contains("no other node"), "\(answer.text)")
        #expect(logsIn("another long one", at: cluster["n1"]))
    }

    @Test("what should run, of any length, and tokens reach a node that was away; hashes cannot be read by SQL")
    func away() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        cluster["n3"].stop()
        let script = "/usr/bin/true, " + String(repeating: "x", count: 5_000)
        let document = "services:\\n- name: web\\n  run: 'exec:[\(script)]'\\n"
        let applied = try cluster["n1"].ask("POST", "/v1/apply", body: #"{"document":"\#(document)"}"#)
        #expect(applied.status == 200, "\(applied.text)")
        #expect(try cluster["n2"].ask("POST", "/v1/tokens", body: #"{"name":"backup"}"#).status == 201)
        try cluster["n3"].restart()
        #expect(
            cluster.eventuallyAll { node in
                let tokens = (try? node.ask("GET", "/v1/tokens").text) ?? ""
                let desired = (try? node.ask("GET", "/v1/export").text) ?? ""
                return tokens.contains("backup") && desired.contains("xxxx")
            }, "\(cluster.logs)")
        for statement in ["SELECT value FROM bramble_secrets", "SELECT body FROM bramble_log"] {
            let answer = try cluster["n3"].sql(statement)
            #expect(answer.status == 400 && answer.text.contains("cannot be read"), "\(answer.text)")
        }
        #expect(
            cluster["n3"].rows("SELECT key FROM bramble_facts WHERE key LIKE 'desired/%'")
                == #"[["desired/services/web"]]"#)
    }

    @Test("members are rows, and who was removed, when, and where that was decided")
    func members() throws {
        let cluster = try Cluster("n1", "n2", "n3")
        #expect(
            cluster.eventuallyAll {
                $0.rows("SELECT name FROM bramble_members WHERE since IS NOT NULL ORDER BY name")
                    == #"[["n1"],["n2"],["n3"]]"#
            }, "\(cluster.logs)")
        #expect(try cluster["n1"].cli("node", "remove", "n3", "--yes").succeeded)
        for node in [cluster["n1"], cluster["n2"]] {
            #expect(
                eventually(within: .seconds(20)) {
                    node.rows("SELECT name, removed_by FROM bramble_members WHERE removed IS NOT NULL")
                        == #"[["n3","n1"]]"#
                }, "\(cluster.logs)")
        }
        #expect(cluster["n1"].rows("SELECT count(*) FROM bramble_facts WHERE key LIKE 'key/%'") == "[[0]]")
    }
}
