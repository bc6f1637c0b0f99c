import java.io.BufferedReader;
import java.io.InputStreamReader;
import javax.jms.*;
import org.apache.activemq.ActiveMQConnectionFactory;

/** A JMS client as a WSO2 product has one: {@code publish} takes commands on standard input, {@code subscribe} prints. */
public class Peer {
    public static void main(String[] args) throws Exception {
        String url = args[0], mode = args[1], destination = args[2];
        // Waits for a broker that restarts, and sends again what it has not confirmed.
        Connection connection = new ActiveMQConnectionFactory("failover:(" + url + ")?maxReconnectDelay=100").createConnection();
        connection.start();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        Destination where = destination.startsWith("queue:")
            ? session.createQueue(destination.substring(6)) : session.createTopic(destination);
        if (mode.equals("subscribe")) subscribe(session.createConsumer(where));
        else publish(session, session.createProducer(where));
    }

    static void subscribe(MessageConsumer consumer) throws Exception {
        say("ready");
        while (true) {
            Message message = consumer.receive();
            String origin = message.getStringProperty("revocation-hub");
            if (message instanceof MapMessage) {
                MapMessage map = (MapMessage) message;
                say("map " + map.getString("revokedToken") + " " + map.getString("ttl") + " " + map.getLong("expiryTime")
                    + " " + map.getInt("tenantId") + " " + map.getString("type") + " " + origin);
            } else if (message instanceof TextMessage) {
                say("text " + ((TextMessage) message).getText());
            } else {
                say("other " + message.getClass());
            }
        }
    }

    static void publish(Session session, MessageProducer producer) throws Exception {
        say("ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line; (line = in.readLine()) != null; ) {
            String[] words = line.split(" ", 2);
            switch (words[0]) {
                case "map": producer.send(map(session, words[1])); break;
                case "text": producer.send(session.createTextMessage(words[1])); break;
                case "bytes": {
                    BytesMessage bytes = session.createBytesMessage();
                    bytes.writeBytes(words[1].getBytes("UTF-8"));
                    producer.send(bytes);
                    break;
                }
                case "empty": producer.send(session.createMapMessage()); break;
                case "storm": {
                    String[] of = words[1].split(" ");
                    for (int i = 0; i < Integer.parseInt(of[1]); i++) {
                        producer.send(map(session, String.format("%s-%06d", of[0], i)));
                        if (i % 100 == 99) say("stored " + (i + 1));
                    }
                    break;
                }
            }
            say("done");
        }
    }

    static MapMessage map(Session session, String token) throws Exception {
        MapMessage map = session.createMapMessage();
        map.setString("eventId", "e-" + token);
        map.setString("revokedToken", token);
        map.setString("ttl", "0123");
        map.setLong("expiryTime", 4102444800000L);
        map.setString("type", "JWT");
        map.setInt("tenantId", -1234);
        return map;
    }

    static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
