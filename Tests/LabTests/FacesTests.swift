import BrambleAPI
import FoundationEssentials
import Lab
import Testing

/// What people see of real daemons: the command line, HTTPS, and what never gets out.
@Suite("the faces of real nodes", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct FacesTests {
    @Test("every command that looks at a cluster answers, as text and as JSON, and tells of peers what they are")
    func looking() throws {
        let cluster = try Cluster("n1", "n2")
        let node = cluster["n1"]
        // A first reading of the load is there after a moment.
        let hasLoad = eventually(within: .seconds(10)) {
            let nodes = (try? node.nodes()) ?? []
            return nodes.count == 2
                && nodes.allSatisfy {
                    ($0.load?.memory ?? 0) > 0 && !$0.version.isEmpty && $0.version == nodes[0].version
                }
        }
        #expect(hasLoad, "\(cluster.logs)")
        let other = try #require(try node.nodes().first { $0.name == "n2" })
        #expect(other.port == 7771 && other.address == cluster["n2"].host.address && other.threshold == 8)
        #expect(other.phi != nil && !other.isSelf)
        for words in [
            ["nodes"], ["events"], ["status"], ["why", "n2"], ["peer", "status"], ["doctor"], ["token", "list"],
            ["version"], ["database"], ["conflicts"],
        ] {
            let text = try node.cli(words)
            #expect(text.succeeded && !text.output.isEmpty && text.errors.isEmpty, "\(words): \(text)")
            let json = try node.cli(words + ["--json"])
            #expect(json.succeeded, "\(words): \(json)")
            let parsed = try? JSONDecoder().decode(JSONValue.self, from: Data(json.output.utf8))
            // Events come a line each.
            #expect(parsed != nil || words == ["events"], "\(words): \(json.output)")
        }
        for words in [["help"], ["help", "nodes"], ["completion", "bash"], ["man"]] {
            let text = try node.cli(words)
            #expect(text.succeeded && text.output.utf8.count > 200, "\(words): \(text)")
        }
        let probe = try node.cli("peer", "probe", cluster["n2"].host.address)
        #expect(probe.succeeded, "\(probe)")
        let api = try node.get("/openapi.json", as: JSONValue.self)
        guard case .object(let document) = api, case .object(let paths)? = document["paths"] else {
            Issue.record("no document: \(api)")
            return
        }
        #expect(paths["/v1/nodes"] != nil && paths["/metrics"] != nil)
        #expect(try node.metric("bramble_nodes", where: "alive") == 2)
        #expect(try node.metric("bramble_node_suspicion_phi", where: "n2") != nil)
    }

    @Test(
        "tls: self makes it HTTPS, with a certificate that stays; one of the operator's is taken; doctor tells of neither"
    )
    func encrypted() throws {
        let cluster = try Cluster("n1", started: false)
        let (node, host) = (cluster["n1"], cluster["n1"].host)
        func ask(_ arguments: String...) throws -> String {
            try host.run(["curl", "-sS", "-m", "5"] + arguments).output
        }
        try node.start()
        #expect(eventually(within: .seconds(10)) { (try? node.status().state) == .alone }, "\(node.log)")
        #expect(try node.ask("GET", "/v1/doctor").text.contains("the dashboard is plain HTTP"))
        node.stop()

        try host.write("tls: self\n", to: "/etc/bramble.yaml")
        try node.start(["--config", "/etc/bramble.yaml"])
        #expect(eventually(within: .seconds(10)) { (try? node.status().state) == .alone }, "\(node.log)")
        #expect(try node.ask("GET", "/v1/doctor").text.contains("the dashboard is encrypted"))
        #expect(
            try ask("-k", "-o", "/dev/null", "-w", "%{http_code} %{scheme}", "https://127.0.0.1:8080/health")
                == "200 HTTPS")
        #expect(try ask("-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8080/health") != "200")
        // Kept: a browser that was told to trust it once is not asked again.
        let read = "openssl s_client -connect 127.0.0.1:8080 </dev/null 2>/dev/null | openssl x509 -outform PEM"
        let certificate = try host.require("sh", "-c", read)
        try host.write(certificate, to: "/tmp/own.pem")
        node.stop()
        try node.restart()
        #expect(eventually(within: .seconds(10)) { (try? node.status().state) == .alone }, "\(node.log)")
        #expect(
            try ask(
                "--cacert", "/tmp/own.pem", "-o", "/dev/null", "-w", "%{http_code}", "https://localhost:8080/health")
                == "200")
        node.stop()

        try host.require(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2",
            "-subj", "/CN=n1", "-addext", "subjectAltName=DNS:localhost", "-keyout", "/etc/key.pem", "-out",
            "/etc/cert.pem")
        try host.write("tls: {certificate: /etc/cert.pem, key: /etc/key.pem}\n", to: "/etc/bramble.yaml")
        try node.restart()
        #expect(eventually(within: .seconds(10)) { (try? node.status().state) == .alone }, "\(node.log)")
        #expect(
            try ask(
                "--cacert", "/etc/cert.pem", "-o", "/dev/null", "-w", "%{http_code}", "https://localhost:8080/health")
                == "200")
        node.stop()
        try host.write("tls: {certificate: /etc/cert.pem, key: /etc/hosts}\n", to: "/etc/bramble.yaml")
        try node.restart()
        #expect(node.process?.wait(.seconds(10)) != nil, "\(node.log)")
        #expect(node.log.contains("tls: self"), "the remedy: \(node.log)")
    }

    @Test(
        "streams between nodes, and HTTPS, speak TLS 1.3 and refuse everything before it",
        // Number 70 of RFC 8446, §6, protocol version; libmicrohttpd says no by ending the connection.
        arguments: [(7771, "SSL alert number 70"), (8080, "unexpected eof while reading")])
    func version(port: Int, no: String) throws {
        let cluster = try Cluster("n1", started: false)
        let (node, host) = (cluster["n1"], cluster["n1"].host)
        try host.write("tls: self\n", to: "/etc/bramble.yaml")
        try node.start(["--config", "/etc/bramble.yaml"])
        #expect(eventually(within: .seconds(10)) { (try? node.status().state) == .alone }, "\(node.log)")
        func greet(_ version: String) throws -> String {
            // The old versions are only spoken at all where the client asks for no security.
            let result = try host.run([
                "openssl", "s_client", "-connect", "127.0.0.1:\(port)", version, "-cipher", "ALL:@SECLEVEL=0", "-brief",
            ])
            return result.output + result.errors
        }
        #expect(try greet("-tls1_3").contains("Protocol version: TLSv1.3"))
        for old in ["-tls1_2", "-tls1_1", "-tls1"] {
            let answer = try greet(old)
            #expect(answer.contains(no) && !answer.contains("ESTABLISHED"), "\(old): \(answer)")
        }
    }

    @Test(
        "the first password is printed once; nothing secret is in a log or, but for the key, in a file"
    )
    func secrets() throws {
        let cluster = try Cluster("n1", "n2", keyed: false)
        let (node, host) = (cluster["n1"], cluster["n1"].host)
        let login = try node.makeCluster("hedge")
        let again = try node.cli("init", "--data-dir", BrambleNode.dataDirectory, "--cluster", "hedge")
        #expect(again.status == 1 && !again.output.contains("password"), "\(again)")
        try cluster["n2"].takeKey(of: node)
        for node in cluster.nodes { try node.start() }
        #expect(cluster.agree(alive: ["n1", "n2"], within: .seconds(20)), "\(cluster.logs)")

        func logIn(_ password: String) throws -> HTTPResponse {
            let stream = try host.connect(to: host.address, port: 8080, limit: .seconds(5))
            return try HTTPResponse.ask(
                "POST", "/login", body: Array(#"{"user":"admin","password":"\#(password)"}"#.utf8), over: stream)
        }
        func look(_ path: String, _ headers: [String: String]) throws -> Int {
            let stream = try host.connect(to: host.address, port: 8080, limit: .seconds(5))
            return try HTTPResponse.ask("GET", path, headers: headers, over: stream).status
        }
        let entered = try logIn(login.password)
        #expect(entered.status == 200, "\(entered.text)")
        let cookie = String(try #require(entered.headers["set-cookie"]).prefix { $0 != ";" })
        #expect(try look("/v1/nodes", ["Cookie": cookie]) == 200)
        #expect(try look("/v1/nodes", [:]) == 401)
        let token = try node.cli("token", "create", "backup").output.split(separator: "\n")[0]
        #expect(
            eventually(within: .seconds(5)) {
                (try? look("/v1/nodes", ["Authorization": "Bearer \(token)"])) == 200
            })
        // In an address they are worth nothing.
        #expect(try look("/v1/nodes?token=\(token)", [:]) >= 400)
        for _ in 0..<5 { #expect(try logIn("a wrong guess").status == 401) }
        #expect(try logIn(login.password).status == 429)

        let key = try #require(host.read(BrambleNode.keyFile)?.split(separator: "\n").last { !$0.hasPrefix("#") })
        let session = try #require(cookie.split(separator: "=").last)
        for node in cluster.nodes { node.stop() }
        let secrets = [login.password, String(token), String(session), "a wrong guess", String(key.suffix(40))]
        for secret in secrets {
            for node in cluster.nodes {
                #expect(!node.log.contains(secret))
                let found = try node.host.run([
                    "grep", "-rlF", "--", secret, BrambleNode.dataDirectory, "/etc/hosts", "/run",
                ])
                let files = found.output.split(separator: "\n").filter { $0 != BrambleNode.keyFile }
                #expect(files == [], "“\(secret.prefix(4))…” is in a file")
            }
        }
    }
}
