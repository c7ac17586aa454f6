package dev.fairstow.spark;

import java.util.Properties;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Whose stage it is, of which job, and by which names its work may be known from earlier runs.
 *
 * <p>Everything is read from the properties that Spark carries with each stage. A user is, in this
 * order: what a Connect server was told by its authenticated channel; the property fairstow.user;
 * the job group; the user who runs the application. Streaming queries are one user of their own:
 * they never end, so that they are neither given anybody's share nor put last for ever.
 */
final class Identity {
    static final String STREAMING = "(streaming)";
    static final String USER = "fairstow.user";
    static final String TEMPLATE = "fairstow.template";

    private static final String UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
    private static final Pattern CONNECT =
            Pattern.compile(
                    "(?:^|,)SparkConnect_OperationTag_User_([^,]*)_Session_"
                            + UUID
                            + "_Operation_"
                            + UUID
                            + "(?:,|$)");

    private Identity() {}

    static String user(Properties of, String sparkUser) {
        if (of.getProperty("sql.streaming.queryId") != null
                || of.getProperty("spark.streaming.internal.batchTime") != null) {
            return STREAMING;
        }
        Matcher connect = CONNECT.matcher(of.getProperty("spark.job.tags", ""));
        if (connect.find()) {
            return connect.group(1);
        }
        String told = of.getProperty(USER);
        if (told != null && !told.isEmpty()) {
            return told;
        }
        String group = of.getProperty("spark.jobGroup.id");
        return group == null || group.isEmpty() || isBroadcast(of) ? sparkUser : group;
    }

    /** A job is a whole SQL execution with all its stages, else one action. */
    static String job(Properties of, int action) {
        String execution = execution(of);
        return execution == null ? action(action) : sql(execution);
    }

    static String sql(Object execution) {
        return "query " + execution;
    }

    static String action(int job) {
        return "job " + job;
    }

    static String execution(Properties of) {
        String root = of.getProperty("spark.sql.execution.root.id");
        return root == null ? of.getProperty("spark.sql.execution.id") : root;
    }

    /** Spark 3 gives a broadcast a job group of its own in place of the user's. */
    static boolean isBroadcast(Properties of) {
        String group = of.getProperty("spark.jobGroup.id");
        return group != null
                && of.getProperty("spark.job.description", "").contains("(runId " + group + ")");
    }
}
