package dev.fairstow.spark;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Locale;
import java.util.StringJoiner;

/** Plays calls of FairQueue read from standard input, and prints V and the order after each. */
final class Play {
    private Play() {}

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        FairQueue queue = null;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] call = line.split(" ");
            double now = Double.parseDouble(call[1]);
            switch (call[0]) {
                case "new":
                    queue = new FairQueue(number(call, 2), now);
                    break;
                case "arrive":
                    queue.arrive(now, call[2], call[3], number(call, 4), number(call, 5));
                    break;
                case "revise":
                    queue.revise(now, call[2], number(call, 3));
                    break;
                case "served":
                    queue.served(now, call[2], number(call, 3));
                    break;
                case "finish":
                    queue.finish(now, call[2], number(call, 3));
                    break;
                case "charge":
                    queue.charge(now, call[2], number(call, 3), number(call, 4));
                    break;
                case "reweigh":
                    queue.reweigh(now, call[2], number(call, 3));
                    break;
                case "resize":
                    queue.resize(now, number(call, 2));
                    break;
                case "advance":
                    queue.advance(now);
                    break;
                default:
                    throw new IllegalArgumentException(line);
            }
            StringJoiner said = new StringJoiner(" ");
            said.add(String.format(Locale.ROOT, "%.17g", queue.virtual()));
            for (FairQueue.Job job : queue.order()) {
                said.add(job.id + "=" + job.finish());
            }
            System.out.println(said);
        }
    }

    private static double number(String[] call, int at) {
        return Double.parseDouble(call[at]);
    }
}
