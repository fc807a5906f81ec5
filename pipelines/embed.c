/* A C application that records a call which it carries itself.
 *
 *     cc pipelines/embed.c -o embed $(pkg-config --cflags --libs gstreamer-app-1.0)
 *     ./embed sip:recorder.example:5060
 *
 * Each party's RTP comes from the application (appsrc), runs through siprec untouched and leaves by a fakesink.
 * It brings an agent of its own, so that it can say where SIP listens, and ends it in order.
 * Exit code 1 when the recording failed.
 */

#include <gst/app/gstappsrc.h>
#include <gst/gst.h>

#define SECONDS 3
#define CAPS "application/x-rtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0"

typedef struct
{
  GMainLoop *loop;
  GstElement *pipeline;
  GstElement *in[2];
  guint sequence;
  int code;
} Call;

static void
write_header (guint8 * data, guint16 sequence, guint32 timestamp, guint32 ssrc)
{
  data[0] = 0x80;
  data[1] = 0;
  GST_WRITE_UINT16_BE (data + 2, sequence);
  GST_WRITE_UINT32_BE (data + 4, timestamp);
  GST_WRITE_UINT32_BE (data + 8, ssrc);
}

/* One packet of each party every 20 ms. */
static gboolean
send_packets (gpointer user_data)
{
  Call *call = user_data;

  for (guint n = 0; n < 2; n++) {
    if (call->sequence == SECONDS * 50) {
      gst_app_src_end_of_stream (GST_APP_SRC (call->in[n]));
      continue;
    }
    guint8 *data = g_malloc (12 + 160);
    write_header (data, call->sequence, call->sequence * 160, 0x2000 + n);
    for (guint i = 0; i < 160; i++)
      data[12 + i] = (i / (4 + 4 * n)) % 2 ? 0x10 : 0x90;
    gst_app_src_push_buffer (GST_APP_SRC (call->in[n]), gst_buffer_new_wrapped (data, 12 + 160));
  }
  return call->sequence++ < SECONDS * 50 ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static gboolean
on_message (GstBus * bus, GstMessage * message, gpointer user_data)
{
  Call *call = user_data;
  const GstStructure *structure = gst_message_get_structure (message);

  (void) bus;
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    GError *error = NULL;
    gst_message_parse_error (message, &error, NULL);
    g_printerr ("error: %s\n", error->message);
    g_clear_error (&error);
    call->code = 1;
    g_main_loop_quit (call->loop);
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ELEMENT
      && g_str_has_prefix (gst_structure_get_name (structure), "siprec-")) {
    gchar *text = gst_structure_to_string (structure);
    g_print ("%s\n", text);
    g_free (text);
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_APPLICATION) {
    call->code = gst_structure_has_name (structure, "failed");
    g_main_loop_quit (call->loop);
  }
  return G_SOURCE_CONTINUE;
}

/* On a thread of the agent: the main loop hears of it by the bus. One recorder's failure is no end, the next is tried. */
static void
on_state_changed (GstElement * rec, gint state, const gchar * reason, gpointer user_data)
{
  GEnumClass *states = g_type_class_ref (g_type_from_name ("GstSiprecState"));
  const gchar *nick = g_enum_get_value (states, state)->value_nick;

  (void) reason;
  (void) user_data;
  if (g_str_equal (nick, "stopped") || g_str_equal (nick, "failed"))
    gst_element_post_message (rec,
        gst_message_new_application (GST_OBJECT (rec), gst_structure_new_empty (nick)));
  g_type_class_unref (states);
}

static gboolean
give_up (gpointer user_data)
{
  Call *call = user_data;
  g_printerr ("no end within 20 s\n");
  call->code = 1;
  g_main_loop_quit (call->loop);
  return G_SOURCE_REMOVE;
}

int
main (int argc, char *argv[])
{
  Call call = { 0 };
  GError *error = NULL;

  gst_init (&argc, &argv);
  if (argc != 2) {
    g_printerr ("usage: %s RECORDER-URI\n", argv[0]);
    return 2;
  }

  call.pipeline = gst_parse_launch ("siprec name=rec call-uuid=C-1 dn=1001 other-dn=1002 "
      "appsrc name=in0 is-live=true format=time do-timestamp=true caps=" CAPS " ! rec.sink_0 "
      "rec.src_0 ! fakesink sync=false async=false "
      "appsrc name=in1 is-live=true format=time do-timestamp=true caps=" CAPS " ! rec.sink_1 "
      "rec.src_1 ! fakesink sync=false async=false", &error);
  if (!call.pipeline) {
    g_printerr ("error: %s\n", error->message);
    g_clear_error (&error);
    return 1;
  }

  /* The plugin is loaded by now, so its agent can be made by name. */
  GstObject *agent = g_object_new (g_type_from_name ("GstSiprecAgent"), "local-address", "127.0.0.1",
      "user", "c-example", NULL);
  GstElement *rec = gst_bin_get_by_name (GST_BIN (call.pipeline), "rec");
  g_object_set (rec, "recorder", argv[1], "agent", agent, NULL);
  g_signal_connect (rec, "state-changed", G_CALLBACK (on_state_changed), NULL);
  gst_object_unref (rec);

  call.loop = g_main_loop_new (NULL, FALSE);
  call.in[0] = gst_bin_get_by_name (GST_BIN (call.pipeline), "in0");
  call.in[1] = gst_bin_get_by_name (GST_BIN (call.pipeline), "in1");
  GstBus *bus = gst_element_get_bus (call.pipeline);
  guint watch = gst_bus_add_watch (bus, on_message, &call);

  g_timeout_add (20, send_packets, &call);
  guint limit = g_timeout_add_seconds (20, give_up, &call);
  gst_element_set_state (call.pipeline, GST_STATE_PLAYING);
  g_main_loop_run (call.loop);
  gst_element_set_state (call.pipeline, GST_STATE_NULL);

  /* Ends what is still open, within a second. */
  gboolean clean = FALSE;
  g_signal_emit_by_name (agent, "shutdown", (guint64) GST_SECOND, &clean);
  g_print ("agent ended %s\n", clean ? "clean" : "with dialogs open");

  if (call.code == 0)
    g_source_remove (limit);
  g_source_remove (watch);
  gst_object_unref (bus);
  gst_object_unref (call.in[0]);
  gst_object_unref (call.in[1]);
  gst_object_unref (call.pipeline);
  gst_object_unref (agent);
  g_main_loop_unref (call.loop);
  return call.code;
}
