import Primitives
import Testing

@Suite("addresses are read and written as people write them")
struct EndpointTests {
    @Test(
        "an address survives being written and read",
        arguments: ["10.0.0.1", "255.255.255.255", "::", "::1", "fd00::1", "2001:db8::1:0:0:1", "fe80::1:2:3:4"])
    func roundTrip(text: String) {
        #expect(IPAddress(text)?.description == text)
    }

    @Test(
        "what is no address is refused",
        arguments: ["", "10.0.0", "10.0.0.256", "01.2.3.4", "1:2", ":::", "1::2::3", "g::1"])
    func refused(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test("the port may follow, with brackets around version 6")
    func ports() {
        #expect(Endpoint("10.0.0.1", defaultPort: 7771)?.description == "10.0.0.1:7771")
        #expect(Endpoint("10.0.0.1:80", defaultPort: 7771)?.port == 80)
        #expect(Endpoint("[fd00::1]:80", defaultPort: 7771)?.description == "[fd00::1]:80")
        #expect(Endpoint("fd00::1", defaultPort: 7771)?.description == "[fd00::1]:7771")
        #expect(Endpoint("10.0.0.1:0", defaultPort: 7771) == nil)
        #expect(Endpoint("host:80", defaultPort: 7771) == nil)
    }
}
